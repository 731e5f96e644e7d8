package http1

// chunks takes the framing off a chunked body (RFC 9112 section 7.1), whatever pieces it comes in.
// Extensions and trailers are skipped.
type chunks struct {
	state chunkState
	left  int64 // bytes of the current chunk still to come
	line  int   // characters of the current line so far
	total int   // bytes eaten, framing included
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer   // at the start of a trailer line
	chunkTrailerIn // inside one
	chunkEndLF
	chunkDone
	chunkBroken
)

// eat decodes b, appends the data to body as far as MaxBody, and returns body and how many bytes of
// b it has taken: all, unless the body is done or broken.
func (c *chunks) eat(body, b []byte) ([]byte, int) {
	i := 0
	for i < len(b) && c.state < chunkDone {
		if c.state == chunkData {
			n := int(min(c.left, int64(len(b)-i)))
			body = append(body, b[i:i+min(n, max(MaxBody-len(body), 0))]...)
			i += n
			if c.left -= int64(n); c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		c.framing(b[i])
		i++
	}
	if c.total += i; c.total > maxFraming && c.state < chunkDone {
		c.state = chunkBroken
	}
	return body, i
}

// framing takes one byte that is not data.
func (c *chunks) framing(b byte) {
	switch c.state {
	case chunkSize:
		digit, ok := hexDigit(b)
		switch {
		case ok && c.left < 1<<40:
			c.left = c.left<<4 | digit
			c.line++
		case c.line == 0 || ok:
			c.state = chunkBroken
		case b == '\r':
			c.state = chunkSizeLF
		case b == '\n':
			c.sized()
		case b == ';' || b == ' ' || b == '\t':
			c.state = chunkExtension
		default:
			c.state = chunkBroken
		}
	case chunkExtension:
		if b == '\n' {
			c.sized()
		}
	case chunkSizeLF:
		c.expect(b, '\n', c.sized)
	case chunkDataCR:
		if b == '\n' {
			c.state = chunkSize
			return
		}
		c.expect(b, '\r', func() { c.state = chunkDataLF })
	case chunkDataLF:
		c.expect(b, '\n', func() { c.state = chunkSize })
	case chunkTrailer:
		switch b {
		case '\r':
			c.state = chunkEndLF
		case '\n':
			c.state = chunkDone
		default:
			c.state = chunkTrailerIn
		}
	case chunkTrailerIn:
		if b == '\n' {
			c.state = chunkTrailer
		}
	case chunkEndLF:
		c.expect(b, '\n', func() { c.state = chunkDone })
	case chunkData, chunkDone, chunkBroken: // eat does not ask then
	}
}

func (c *chunks) expect(b, want byte, then func()) {
	if b != want {
		c.state = chunkBroken
		return
	}
	then()
}

// sized is reached at the end of a size line.
func (c *chunks) sized() {
	c.line = 0
	if c.left == 0 {
		c.state = chunkTrailer
	} else {
		c.state = chunkData
	}
}

func hexDigit(b byte) (int64, bool) {
	switch {
	case b >= '0' && b <= '9':
		return int64(b - '0'), true
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		return int64(b|0x20-'a') + 10, true
	}
	return 0, false
}
