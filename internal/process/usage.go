package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
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

// UsageOfAll reads what a process and its children have used, those included that it has waited for.
// Memory that they share is counted for each.
func UsageOfAll(pid int) (sum Usage, err error) {
	if sum, err = usageOf(pid, user, system, childrenUser, childrenSystem); err != nil {
		return sum, err
	}
	tasks, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return sum, err
	}
	for field := range bytes.FieldsSeq(tasks) {
		child, err := strconv.Atoi(string(field))
		if err != nil {
			return sum, err
		}
		u, err := UsageOfAll(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.RSS += u.RSS
		sum.Peak += u.Peak
	}
	return sum, nil
}

// UsageOf reads what a process has used. It needs /proc.
func UsageOf(pid int) (Usage, error) { return usageOf(pid, user, system) }

// Times in /proc/<pid>/stat (proc(5)), counted from the field after the program's name.
const user, system, childrenUser, childrenSystem = 11, 12, 13, 14

func usageOf(pid int, times ...int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The second field is the program's name in brackets, and may hold anything (proc(5)).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= childrenSystem {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	for _, i := range times {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
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
