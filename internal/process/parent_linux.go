package process

import "syscall"

// withParent ends the process when the one that started it dies without doing so.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
