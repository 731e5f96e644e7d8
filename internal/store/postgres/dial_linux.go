package postgres

import (
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unanswered is how long bytes sent to the database may stay unacknowledged: what the server's
// tcp_user_timeout is for the other direction.
const unanswered = 5 * time.Second

// dialer makes connections that notice when the other side has vanished without a word, be it that
// something is under way to it or not.
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) (err error) {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			control := c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
			})
			if control != nil {
				return control
			}
			return err
		},
	}
}
