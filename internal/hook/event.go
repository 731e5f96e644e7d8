package hook

import (
	"crypto/sha256"
	"strings"
	"time"
)

// Event is something that happened in Atlas. It is immutable and stored once.
type Event struct {
	Partition  Partition
	Offset     Offset // 0 until it is appended
	ID         string // the producer's own, else a new evt_ id; unique within its company
	Company    CompanyKey
	CompanyID  string
	Topic      string
	ObjectKey  string     // category and object id, see [Topic.ObjectKey]; "" for an event about no object
	Data       []byte     // the published JSON document, escaped to ASCII once, at acceptance
	Changes    []byte     // what a derived event changed, as a JSON object escaped like Data; nil for none
	FreshID    bool       // ID was made for this very call: nobody can have used it before (not stored)
	Digest     [32]byte   // of everything that idempotency compares, see [EventDigest]
	OccurredAt *time.Time // the producer's claim; nil when it made none
	ExpiresAt  *time.Time // from then on no attempt begins that its rule asked for; nil for never
	AcceptedAt time.Time  // never goes backwards within a partition
	// DeliverAt is when it is to enter the log, nil for at once, and CancelledAt when it was called off. An
	// event that waits, or was called off before, has no offset; its AcceptedAt is when it was published.
	DeliverAt, CancelledAt *time.Time
	Trace                  string // the traceparent of its acceptance, while it is in memory (not stored); "" for none
}

// Size is how many bytes of a producer's the event holds.
func (e *Event) Size() int64 { return int64(len(e.Data) + len(e.Changes)) }

// ObjectKey names the object an event of the topic is about, across topics of one category: events with the
// same non-empty key are never in flight together to one webhook.
func (t Topic) ObjectKey(objectID string) string {
	if objectID == "" {
		return ""
	}
	return t.Category + ":" + objectID
}

// ObjectKey is that of a built-in topic.
func ObjectKey(topic, objectID string) string {
	t, _ := LookupTopic(topic)
	return t.ObjectKey(objectID)
}

// ObjectID is the inverse of [ObjectKey]: the object's id without its category.
func (e *Event) ObjectID() string {
	_, id, _ := strings.Cut(e.ObjectKey, ":")
	return id
}

// EventDigest is what makes two publishes of one id "the same": topic, object and the bytes of data
// as the producer sent them.
func EventDigest(topic, objectKey string, data []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(topic))
	h.Write([]byte{0})
	h.Write([]byte(objectKey))
	h.Write([]byte{0})
	h.Write(data)
	var d [32]byte
	h.Sum(d[:0])
	return d
}

// Appended is what the log answers for one event.
type Appended struct {
	Event     *Event // the event as it stands in the log: for a duplicate, the original (without Data)
	Duplicate bool   // an event with this id and content was there before
	Conflict  bool   // an event with this id and other content was there before; nothing was appended
}
