package app

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// ownProcess names this process: the kernel's boot, the namespace in which its number counts, the number,
// and when it began. It is "" where one of them is not told.
func ownProcess() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	_, began, err := standing(os.Getpid())
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %d %s", bytes.TrimSpace(boot), space, os.Getpid(), began)
}

// ended proves that a process is gone. It knows nothing of those of other machines, boots and namespaces:
// they may live.
func ended(process, own string) bool {
	its, ours := strings.Fields(process), strings.Fields(own)
	if len(its) != 4 || len(ours) != 4 || its[0] != ours[0] || its[1] != ours[1] {
		return false
	}
	var pid int
	if _, err := fmt.Sscan(its[2], &pid); err != nil || pid <= 0 {
		return false
	}
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	state, began, err := standing(pid)
	if err != nil {
		return false // hidden from us, or about to end
	}
	return began != its[3] || state == "Z" || state == "X"
}

// standing reads the state of a process, and when it began in ticks since the boot (proc(5)). Its name, in
// brackets before both, may hold anything.
func standing(pid int) (state, began string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const first, start = 3, 22 // places of state and start, from 1
	if len(fields) <= start-first {
		return "", "", fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	return fields[0], fields[start-first], nil
}
