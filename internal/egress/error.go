package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Phase is the part of an attempt in which it failed.
type Phase string

// The phases, in their order.
const (
	PhaseNone      Phase = ""
	PhaseDNS       Phase = "dns"
	PhaseConnect   Phase = "connect"
	PhaseProxy     Phase = "proxy"
	PhaseTLS       Phase = "tls"
	PhaseSend      Phase = "send"       // writing the request
	PhaseFirstByte Phase = "first_byte" // waiting for the answer
	PhaseHead      Phase = "headers"    // reading the answer's status and headers
)

// Error is why there is no answer. Detail is a sentence for the endpoint's owner: it names no
// address of ours and nothing of the URL but its host.
type Error struct {
	Class  hook.ErrorClass
	Phase  Phase
	Detail string
	Err    error // the cause, for logs
	// Lost says that a kept connection ended (closed or reset) before one byte of an answer: most
	// likely the receiver gave it up while the request was on its way to it. Nobody else has seen the
	// request, as far as can be told; to send it once more, on a fresh connection, is up to the caller.
	Lost bool

	ended      bool // the connection did, before one byte of an answer
	wantsHTTP1 bool // the receiver does not take requests over HTTP/2
}

func (e *Error) Error() string { return e.Detail }

func (e *Error) Unwrap() error { return e.Err }

func fail(class hook.ErrorClass, phase Phase, err error, format string, args ...any) *Error {
	return &Error{Class: class, Phase: phase, Detail: fmt.Sprintf(format, args...), Err: err}
}

// networkError classifies an error of a socket or a handshake in the given phase.
func networkError(phase Phase, err error) *Error {
	var known *Error
	var refusal *Refusal
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &refusal) && refusal.Code == CodeAddress:
		return fail(hook.ErrAddress, phase, err, "%s", refusedAddress)
	case errors.As(err, &refusal):
		return fail(hook.ErrAddress, phase, err, "%s", refusal.Rule)
	case outOfResources(err):
		return fail(hook.ErrOwnFault, phase, err, "this server could not open a connection: %s", reason(err))
	case timedOut(err):
		return fail(hook.ErrTimeout, phase, err, "no answer within the deadline (%s)", waiting[phase])
	case phase == PhaseTLS:
		return fail(hook.ErrTLS, phase, err, "TLS: %s", reason(err))
	case phase == PhaseConnect:
		return fail(hook.ErrConnect, phase, err, "connect: %s", reason(err))
	case phase == PhaseSend:
		return fail(hook.ErrReset, phase, err, "the connection ended while the request was being sent: %s", reason(err))
	}
	return fail(hook.ErrReset, phase, err, "the connection ended before a full answer: %s", reason(err))
}

var waiting = map[Phase]string{
	PhaseDNS: "resolving the name", PhaseConnect: "connecting", PhaseProxy: "talking to the egress proxy",
	PhaseTLS: "TLS handshake", PhaseSend: "the receiver does not read the request",
	PhaseFirstByte: "waiting for the answer's first byte", PhaseHead: "reading the answer's headers",
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// hungUp reports that the other side has ended the connection: by a FIN or an RST.
func hungUp(err error) bool {
	for _, e := range [...]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// outOfResources is local evidence that the fault is this machine's: no descriptors, no memory for
// sockets, no free local port.
func outOfResources(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func noRoute(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETDOWN)
}

// reason puts the innermost cause into words, without the addresses that net's errors carry: they
// tell about our network.
func reason(err error) string {
	var errno syscall.Errno
	var cert *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &cert):
		return certificateReason(cert, time.Now())
	case errors.As(err, &notTLS):
		return "what answered does not speak TLS"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed by the receiver"
	case errors.As(err, &op):
		err = op.Err
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}
