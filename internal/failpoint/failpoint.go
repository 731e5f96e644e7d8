// Package failpoint names the moments at which a crash is most telling, so that a test can end the
// process at exactly one of them.
//
// In a program that is built as usual [Hit] does nothing and costs nothing. Built with the tag
// failpoint, the program reads the variable FAILPOINT, "name:n", and kills itself when the point of
// that name is hit for the n-th time: as kill -9 does, without a word.
package failpoint

// Point is a moment in the life of an event, or of the server.
type Point string

// The points, in the order in which an event meets them; then those of the server.
const (
	BeforeCommit Point = "before-commit" // a group is written, not committed
	Appended     Point = "appended"      // events are committed, their publishers not answered
	Offered      Point = "offered"       // the tail has an event, no lane has it yet
	Dial         Point = "dial"          // an attempt has its slot, nothing was sent
	Sent         Point = "sent"          // a request was sent, no answer came
	Answered     Point = "answered"      // an answer came, nothing was recorded
	Park         Point = "park"          // within the record of a delivery that is to be retried
	Recorded     Point = "recorded"      // a record is committed, the engine not told

	Checkpoint   Point = "checkpoint"   // before the log is copied back
	Checkpointed Point = "checkpointed" // and after
	Purge        Point = "purge"        // within a step of the purge
	Migration    Point = "migration"    // before each migration, and after the last
	Taken        Point = "taken"        // messages of a source are committed, the source not told
	Drain        Point = "drain"        // told to stop, before the attempts in flight have ended
	Drained      Point = "drained"      // everything is recorded, the store not closed
	Replay       Point = "replay"       // a replay has found its next deliveries
	Rotation     Point = "rotation"     // within the change of a secret

	// Blind is none to end at: from its start on the server does not look whether its database went back,
	// nor whether that syncs what it commits.
	Blind Point = "blind"
)
