package egress

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Some servers send the text of a 204 that its head announces although it must not be, and late: it then
// stands before the next answer. Such a connection is not used again, and each request gets its own answer.
// The control announces none, and sends none.
func TestTextAfterNoContent(t *testing.T) {
	for name, length := range map[string]string{"text": "Content-Length: 2\r\n", "control": ""} {
		connections := make(chan struct{}, 10)
		address := rawServer(t, func(nc net.Conn) {
			connections <- struct{}{}
			br := bufio.NewReader(nc)
			late := ""
			for {
				q, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				io.Copy(io.Discard, q.Body)
				io.WriteString(nc, late+"HTTP/1.1 204 No Content\r\n"+length+"\r\n")
				if length != "" {
					late = "ok"
				}
			}
		})
		c := newClient(t)
		for range 5 {
			if answer, err := c.Do(t.Context(), request("http://"+address, 5*time.Second)); err != nil || answer.Status != 204 {
				t.Fatalf("%s: %d, %v", name, answer.Status, err)
			}
		}
		if n, want := len(connections), map[string]int{"text": 5, "control": 1}[name]; n != want {
			t.Errorf("%s: %d connections, want %d", name, n, want)
		}
	}
}
