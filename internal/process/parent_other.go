//go:build !linux

package process

import "syscall"

func withParent() *syscall.SysProcAttr { return nil }
