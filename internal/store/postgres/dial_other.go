//go:build !linux

package postgres

import (
	"net"
	"time"
)

// dialer makes connections that notice when the other side has vanished while nothing is under way
// to it; otherwise the time that a call may take bounds the wait.
func dialer() *net.Dialer {
	return &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 3 * time.Second, Interval: time.Second, Count: 3}}
}
