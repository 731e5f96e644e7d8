package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what a process has used of the machine.
type Usage struct {
	CPU  time.Duration // user and system, since its start
	RSS  int64         // bytes of memory that are resident now
	Peak int64         // and the most there were
}

// tick is the unit of times in /proc: 100 a second on every Linux (USER_HZ).
const tick = 10 * time.Millisecond

// UsageOf reads what a process has used. It needs /proc.
func UsageOf(pid int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is the program's name in brackets, and may hold anything (proc(5)).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system = 11, 12 // fields 14 and 15 of all
	if len(fields) <= system {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	for _, field := range fields[user : system+1] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(n) * tick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "VmRSS":
			_, err = fmt.Sscanf(string(value), "%d kB", &u.RSS)
		case "VmHWM":
			_, err = fmt.Sscanf(string(value), "%d kB", &u.Peak)
		}
		if err != nil {
			return u, err
		}
	}
	u.RSS <<= 10
	u.Peak <<= 10
	return u, nil
}
