package proof_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// disk is a file system of its own on a file, so that it can lose power: what the kernel has not
// written to the file yet is not in a copy of it.
type disk struct {
	t    *testing.T
	file string // the disk's content
	dir  string // where it is mounted
}

// newDisk makes an empty disk with ext4 on it.
func newDisk(t *testing.T, megabytes int) *disk {
	t.Helper()
	d := &disk{t: t, file: filepath.Join(t.TempDir(), "disk")}
	f, err := os.Create(d.file)
	if err == nil {
		err = f.Truncate(int64(megabytes) << 20)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", d.file)
	d.mount()
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.CommandContext(d.t.Context(), name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func (d *disk) mount() {
	d.t.Helper()
	home := d.t.TempDir()
	d.dir = filepath.Join(home, "mounted")
	// A database, which is another user, must be able to reach it.
	if err := errors.Join(os.Mkdir(d.dir, 0o700), os.Chmod(filepath.Dir(home), 0o711)); err != nil { //nolint:gosec // only to reach it
		d.t.Fatal(err)
	}
	d.run("mount", "-o", "loop", d.file, d.dir)
	d.t.Cleanup(func() {
		// The test's context has ended. Whoever used it was ended before.
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			d.t.Errorf("umount: %v\n%s", err, out)
		}
	})
}

// afterPowerCut is a disk as it would be found if the power failed now. Nothing may write meanwhile.
func (d *disk) afterPowerCut() *disk {
	d.t.Helper()
	c := &disk{t: d.t, file: filepath.Join(d.t.TempDir(), "disk")}
	d.run("cp", "--sparse=always", d.file, c.file)
	c.mount()
	return c
}

// needDisks is what these tests cannot do without.
func needDisks(t *testing.T, commands ...string) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root, to mount file systems")
	for _, name := range commands {
		_, err := exec.LookPath(name)
		need(t, err == nil, "the command "+name)
	}
}

// memoryDisk mounts a file system in memory that is as small as wanted.
func memoryDisk(t *testing.T, megabytes int) string {
	t.Helper()
	d := &disk{t: t, dir: filepath.Join(t.TempDir(), "mounted")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=0700", megabytes), "proof", d.dir)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return d.dir
}

// strace is a wrap for a server whose system calls are made to fail. The tracer is a grandchild, so
// that the process is the server.
func strace(log, calls, fault string, options ...string) []string {
	return append([]string{
		"strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", log, "-e", "trace=" + calls, "-e", "signal=none", "-e", "inject=" + calls + ":" + fault,
	}, options...)
}
