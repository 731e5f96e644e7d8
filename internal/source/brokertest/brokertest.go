// Package brokertest runs throwaway brokers for tests, each as a process of its own on the loopback address,
// so that it can be killed, and started again on what it has on disk.
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrMissing is the answer where a broker is not installed.
var ErrMissing = errors.New("no such broker; make brokers installs them")

// Broker is a broker, running or killed.
type Broker struct {
	Addr  string // host:port
	dir   string
	ready func(b *Broker) bool
	make  func(b *Broker) *exec.Cmd
	run   *exec.Cmd
	ended chan struct{}
	log   string
	names *exec.Cmd // of RabbitMQ: where Erlang's nodes find each other
}

// folder is where make brokers installs them, in the module that the test is of.
func folder() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	return filepath.Join(dir, "bin", "brokers")
}

// ports returns free ones of the loopback address.
func ports(n int) (list []string, err error) {
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		list = append(list, port)
	}
	return list, nil
}

// NATS starts a NATS server with JetStream.
func NATS(dir string) (*Broker, error) {
	path := filepath.Join(folder(), "nats-server")
	if _, err := os.Stat(path); err != nil {
		return nil, ErrMissing
	}
	p, err := ports(1)
	if err != nil {
		return nil, err
	}
	b := &Broker{Addr: "127.0.0.1:" + p[0], dir: dir, ready: answers, make: func(b *Broker) *exec.Cmd {
		return exec.Command(path, "-a", "127.0.0.1", "-p", p[0], "-js", "-sd", b.dir) //nolint:gosec,noctx // ours; it ends by Kill
	}}
	return b, b.begin()
}

// Kafka starts a broker of Kafka, which is its own controller.
func Kafka(dir string) (*Broker, error) {
	jars, _ := filepath.Glob(filepath.Join(folder(), "kafka", "kafka_*.jar"))
	java, err := exec.LookPath("java")
	if err != nil || len(jars) == 0 {
		return nil, ErrMissing
	}
	p, err := ports(2)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "server.properties")
	text := strings.NewReplacer("PORT", p[0], "CONTROL", p[1], "DIR", filepath.Join(dir, "log")).Replace(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:CONTROL
listeners=PLAINTEXT://127.0.0.1:PORT,CONTROLLER://127.0.0.1:CONTROL
advertised.listeners=PLAINTEXT://127.0.0.1:PORT
controller.listener.names=CONTROLLER
log.dirs=DIR
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
file.delete.delay.ms=1000
`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	flags := []string{"-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(folder(), "kafka", "*")}
	format := exec.Command(java, append(flags, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", config)...) //nolint:gosec,noctx // ours, and short
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format: %w: %s", err, out)
	}
	b := &Broker{Addr: "127.0.0.1:" + p[0], dir: dir, ready: says("Kafka Server started"), make: func(*Broker) *exec.Cmd {
		return exec.Command(java, append(flags, "kafka.Kafka", config)...) //nolint:gosec,noctx // ours; it ends by Kill
	}}
	return b, b.begin()
}

// answers reports whether somebody listens.
func answers(b *Broker) bool {
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", b.Addr)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// says waits for a line of the log.
func says(text string) func(*Broker) bool {
	return func(b *Broker) bool {
		log, err := os.ReadFile(b.log)
		return err == nil && bytes.Contains(log, []byte(text))
	}
}

func (b *Broker) begin() error {
	err := b.Start()
	if err != nil {
		b.Stop()
	}
	return err
}

const startWait = 90 * time.Second

// Start starts it, again after a Kill, and waits until it answers.
func (b *Broker) Start() error {
	b.log = filepath.Join(b.dir, fmt.Sprintf("log-%d.txt", time.Now().UnixNano()))
	log, err := os.Create(b.log)
	if err != nil {
		return err
	}
	defer log.Close()
	run := b.make(b)
	run.Dir, run.Stdout, run.Stderr = b.dir, log, log
	run.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // all of its processes end together
	if err := run.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = run.Wait()
		close(ended)
	}()
	b.run, b.ended = run, ended
	for since := time.Now(); !b.ready(b); {
		select {
		case <-ended:
			return fmt.Errorf("%s ended: %s", run.Path, b.Tail())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(since) > startWait {
			b.Kill()
			return fmt.Errorf("%s does not answer: %s", run.Path, b.Tail())
		}
	}
	return nil
}

// Kill ends it as kill -9 does.
func (b *Broker) Kill() {
	_ = syscall.Kill(-b.run.Process.Pid, syscall.SIGKILL)
	_ = b.run.Process.Kill()
	<-b.ended
}

// Stop ends it for good.
func (b *Broker) Stop() {
	b.Kill()
	if b.names != nil {
		_ = b.names.Process.Kill()
		_ = b.names.Wait()
	}
}

// Tail is the end of its log.
func (b *Broker) Tail() string {
	log, _ := os.ReadFile(b.log)
	return string(log[max(0, len(log)-2000):])
}
