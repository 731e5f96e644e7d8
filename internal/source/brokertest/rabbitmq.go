package brokertest

import (
	"os"
	"os/exec"
	"path/filepath"
)

// RabbitMQ starts a node of RabbitMQ.
func RabbitMQ(dir string) (*Broker, error) {
	root := filepath.Join(folder(), "rabbitmq")
	servers, _ := filepath.Glob(filepath.Join(root, "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
	if len(servers) == 0 {
		return nil, ErrMissing
	}
	p, err := ports(3)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "plugins"), []byte("[].\n"), 0o600); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(config, []byte("listeners.tcp.default = 127.0.0.1:"+p[0]+"\nlog.console = true\n"), 0o600); err != nil {
		return nil, err
	}
	erlang := filepath.Join(root, "usr/lib/erlang/bin")
	names := exec.Command(filepath.Join(erlang, "epmd"), "-port", p[2], "-address", "127.0.0.1") //nolint:gosec,noctx // ours; it ends by Stop
	if err := names.Start(); err != nil {
		return nil, err
	}
	b := &Broker{Addr: "127.0.0.1:" + p[0], dir: dir, names: names, ready: answers, make: func(*Broker) *exec.Cmd {
		c := exec.Command(servers[0]) //nolint:gosec,noctx // ours; it ends by Kill
		c.Env = []string{
			"RUNNING_UNDER_SYSTEMD=1", "PATH=" + erlang + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "LANG=C.UTF-8",
			"RABBITMQ_NODENAME=test" + p[0] + "@localhost", "RABBITMQ_NODE_PORT=" + p[0], "RABBITMQ_DIST_PORT=" + p[1], "ERL_EPMD_PORT=" + p[2], "ERL_EPMD_ADDRESS=127.0.0.1",
			"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "log"), "RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
			"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE=" + config, "RABBITMQ_CONF_ENV_FILE=/dev/null",
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		}
		return c
	}}
	return b, b.begin()
}
