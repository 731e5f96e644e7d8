package app

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestEnded: a process that is gone is known to be, also while nobody has waited for it, and as soon as
// another one has its number. The controls live, or nothing is known of them.
func TestEnded(t *testing.T) {
	own := ownProcess()
	if own == "" {
		t.Skip("/proc does not tell")
	}
	fields := strings.Fields(own)
	named := func(boot, space string, pid int, began string) string {
		return strings.Join([]string{boot, space, strconv.Itoa(pid), began}, " ")
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	_, began, err := standing(pid)
	if err != nil {
		t.Fatal(err)
	}
	alive := named(fields[0], fields[1], pid, began)
	for what, process := range map[string]string{
		"this process": own, "another that lives": alive, "one that does not tell": "", "of another boot": named("b", fields[1], 1<<22, "1"),
		"of another namespace": named(fields[0], "pid:[1]", 1<<22, "1"), "nonsense": "a b c d",
	} {
		if ended(process, own) {
			t.Errorf("%s is taken for gone", what)
		}
	}
	if !ended(named(fields[0], fields[1], pid, began+"1"), own) {
		t.Error("its number is another process's: it is gone")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for !ended(alive, own) { // a zombie, as long as nobody waits for it
	}
	_ = child.Wait() // it was killed
	if !ended(alive, own) {
		t.Error("it has ended, and was waited for")
	}
}
