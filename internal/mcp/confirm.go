package mcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"
)

// confirmable is how long a confirmation holds.
const confirmable = 10 * time.Minute

// confirmation ties what was counted to what is done: a text that only a call with the same arguments
// accepts, until a time. It is kept nowhere, so that any node accepts what another gave.
func (c *company) confirmation(v values, until time.Time) string {
	asked := maps.Clone(v)
	delete(asked, "confirmation")
	arguments, err := json.Marshal(asked) // with its names sorted
	if err != nil {
		panic(err) // it was read as JSON
	}
	expires := strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, c.confirm)
	mac.Write([]byte("replay\n" + expires + "\n"))
	mac.Write(arguments)
	return expires + "-" + hex.EncodeToString(mac.Sum(nil)[:16])
}

var errUnconfirmed = errors.New("the confirmation is not that of a call with the same arguments, or is older than ten minutes: call without it, and show the new count")

func (c *company) confirmed(v values, given string) error {
	text, _, _ := strings.Cut(given, "-")
	expires, err := strconv.ParseInt(text, 10, 64)
	if err != nil || c.now().After(time.Unix(expires, 0)) || !hmac.Equal([]byte(given), []byte(c.confirmation(v, time.Unix(expires, 0)))) {
		return errUnconfirmed
	}
	return nil
}
