package hook

import (
	"encoding/binary"
	"math"
	"time"
)

// Histogram counts durations in buckets that grow by a factor of 1.4, from a quarter of a
// millisecond to over a minute: a percentile read from it is at most 20 % off.
type Histogram [40]uint32

const (
	histogramFirst  = 250 * time.Microsecond
	histogramFactor = 1.4
)

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	i := 0
	if d > histogramFirst {
		i = int(math.Ceil(math.Log(float64(d)/float64(histogramFirst)) / math.Log(histogramFactor)))
	}
	h[min(i, len(h)-1)]++
}

// Merge adds another histogram's counts.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o {
		h[i] += n
	}
}

// Count is the number of durations counted.
func (h *Histogram) Count() (n int64) {
	for _, c := range h {
		n += int64(c)
	}
	return n
}

// Quantile is an estimate of the q-th quantile (0 to 1): the geometric middle of its bucket; 0 when
// nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank, seen := int64(math.Ceil(q*float64(total))), int64(0)
	for i, c := range h {
		if seen += int64(c); seen >= max(rank, 1) {
			return time.Duration(float64(histogramFirst) * math.Pow(histogramFactor, float64(i)-0.5))
		}
	}
	return 0
}

// AppendBinary writes the counts as varints.
func (h *Histogram) AppendBinary(b []byte) ([]byte, error) {
	for _, c := range h {
		b = binary.AppendUvarint(b, uint64(c))
	}
	return b, nil
}

// UnmarshalBinary reads what AppendBinary wrote; missing buckets are empty.
func (h *Histogram) UnmarshalBinary(b []byte) error {
	*h = Histogram{}
	for i := range h {
		c, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		h[i], b = uint32(c), b[n:]
	}
	return nil
}
