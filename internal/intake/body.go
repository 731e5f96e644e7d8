package intake

import (
	"errors"
	"io"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// firstRead is how many bytes a request holds before any of them arrived: a length is a claim.
const firstRead = 16 << 10

// Body is a request's bytes, which count against [Options.MaxBytes] until Release.
type Body struct {
	Bytes []byte
	in    *Intake
	held  int64
}

// Release gives the bytes back. It may be called once the request is answered, and twice.
func (b *Body) Release() {
	if b.held > 0 {
		b.in.bytes.Add(-b.held)
		b.held = 0
	}
}

// ReadEvent reads the body of a single publish, ReadBatch that of a batch. length is the
// request's Content-Length, -1 if it has none.
func (in *Intake) ReadEvent(r io.Reader, length int64) (Body, error) {
	return in.read(r, length, int64(in.opt.MaxEventBytes+envelopeBytes))
}

// ReadBatch is [Intake.ReadEvent] for a batch.
func (in *Intake) ReadBatch(r io.Reader, length int64) (Body, error) {
	return in.read(r, length, MaxBatchBytes)
}

// read reads to the end, in steps that double: what is held is at most twice what arrived.
func (in *Intake) read(r io.Reader, length, limit int64) (b Body, err error) {
	if length > limit {
		return b, tooLarge(limit)
	}
	b.in = in
	defer func() {
		if err != nil {
			b.Release()
			b.Bytes = nil
		}
	}()
	size := min(firstRead, limit+1)
	if length >= 0 {
		size = min(size, length+1)
	}
	if err := b.grow(size); err != nil {
		return b, err
	}
	for {
		n, err := r.Read(b.Bytes[len(b.Bytes):cap(b.Bytes)])
		b.Bytes = b.Bytes[:len(b.Bytes)+n]
		switch {
		case int64(len(b.Bytes)) > limit:
			return b, tooLarge(limit)
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, &hook.Error{Kind: hook.KindMalformed, Code: "body_incomplete", Detail: "the body did not arrive in full", Err: err}
		}
		if len(b.Bytes) == cap(b.Bytes) {
			next := min(2*int64(cap(b.Bytes)), limit+1)
			if length >= 0 {
				next = min(next, length+1)
			}
			if err := b.grow(max(next, int64(cap(b.Bytes))+1)); err != nil {
				return b, err
			}
		}
	}
}

func tooLarge(limit int64) error {
	return hook.Refuse(hook.KindTooLarge, "body_too_large", "the body has more than %d bytes", limit)
}

// grow makes room for size bytes in all, if the intake has room for them.
func (b *Body) grow(size int64) error {
	more := size - b.held
	if b.in.bytes.Add(more) > b.in.opt.MaxBytes {
		b.in.bytes.Add(-more)
		return full()
	}
	b.held = size
	grown := make([]byte, len(b.Bytes), size)
	copy(grown, b.Bytes)
	b.Bytes = grown
	return nil
}
