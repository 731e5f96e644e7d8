package client_test

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// server is the product itself, for all tests and examples of this package.
var server *apptest.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if server, err = apptest.Open(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Close()
		// The examples, which outside programs are to look like, take it from here.
		os.Setenv("ATLAS_WEBHOOKS_URL", server.URL)
		os.Setenv("ATLAS_WEBHOOKS_API_KEY", server.Key)
		return m.Run()
	}())
}

// companies counts those that were used, so that a test that runs twice has two.
var companies atomic.Int64

// own is the id of a company that no other test has.
func own(company string) string { return company + strconv.FormatInt(companies.Add(1), 10) }

// at is a client of the server for a company; "" for none.
func at(t *testing.T, company string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: server.URL, Key: server.Key, Company: company})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
