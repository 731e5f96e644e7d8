//go:build unix

package console_test

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a command end with what it started: go run has a child that serves.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
