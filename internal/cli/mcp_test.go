package cli

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// An agent starts the command, uses its tools over the pipe, and the command ends with it.
func TestMCP(t *testing.T) {
	s := apptest.Start(t)
	operator, err := client.New(client.Config{URL: s.URL, Key: s.Key})
	if err != nil {
		t.Fatal(err)
	}
	key, err := operator.CreateKey(t.Context(), "agents", client.KeyCreate{Scope: client.Read})
	if err != nil {
		t.Fatal(err)
	}
	in, toCommand := io.Pipe()
	fromCommand, out := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- Main(&Program{Args: []string{"mcp", "--url", s.URL, "--api-key", key.Key, "--quiet"}, Stdin: in, Stdout: out, Stderr: io.Discard})
	}()
	agent, err := sdk.NewClient(&sdk.Implementation{Name: "agent"}, nil).Connect(t.Context(), &sdk.IOTransport{Reader: fromCommand, Writer: toCommand}, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := agent.CallTool(t.Context(), &sdk.CallToolParams{Name: "overview", Arguments: json.RawMessage(`{}`)})
	if err != nil || answer.IsError || !strings.Contains(answer.Content[0].(*sdk.TextContent).Text, `"company_id":"agents"`) {
		t.Errorf("%v, %v", answer, err)
	}
	if err := agent.Close(); err != nil {
		t.Error(err)
	}
	if code := <-ended; code != exitOK {
		t.Errorf("ended with %d", code)
	}
}
