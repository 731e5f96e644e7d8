package sql

import (
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Disk is the room for an embedded database.
type Disk struct {
	Path string
	Free int64 // bytes
	Mark int64 // bytes below which no events are accepted; negative for never
}

// Low says that there is less room than the low-water mark.
func (d Disk) Low() bool { return d.Free < d.Mark }

// Err says so with figures, to whoever asks; nil where there is room. Strangers may ask too, and learn no path.
func (d Disk) Err() error {
	if !d.Low() {
		return nil
	}
	const mebi = 1 << 20
	return &hook.Error{
		Kind: hook.KindUnavailable, Code: "disk_low",
		Detail: fmt.Sprintf("the disk of the data directory has %d MiB free, below its low-water mark of %d MiB: no events are accepted until there is room; deliveries go on", d.Free/mebi, d.Mark/mebi),
	}
}
