//go:build !full

package proof_test

import "time"

// The small sizes, for every run.

// rigLasts is how long what a test waits for may take in all: several times what it takes on a busy
// machine, and far less than the time that the package has.
const rigLasts = 4 * time.Minute

var crashes = campaign{events: 5000, webhooks: 20, companies: 4, kills: 10, perSecond: 400, between: 1500 * time.Millisecond}

var once = struct {
	ids, postgres, atOnce, publishers, mostKills int
}{1000, 400, 25, 10, 60}

const (
	postgresCuts = 2
	powerCuts    = 4
	controlCuts  = 4
)

// brokerHavoc is who is killed, one after the other, while events come from a broker.
var brokerHavoc = []string{"server", "both"}

// rabbitQueues are the types of queues that events come from.
var rabbitQueues = []string{"quorum"}

// failpointRounds is how often the server ends at each failpoint.
const failpointRounds = 1

// killedWrites are the writes at which a migration is killed.
var killedWrites = []int{1, 4, 12, 40}

// faultyCalls are which of its calls fail.
var faultyCalls = []int{1, 2, 3, 5, 9, 20}

// away is how often the database goes, and how.
var away = struct {
	restarts, kicks, crashes, silences int
	silence                            time.Duration
}{1, 4, 1, 1, 5 * time.Second}

// fleets is what happens to several nodes.
var fleets = struct {
	kills, pauses, restarts int
	between                 time.Duration // two kills
	perSecond, rolling      float64       // events, the latter while nodes are replaced
}{3, 3, 3, 4 * time.Second, 60, 60}

// overload is how long the capacity is measured, and exceeded.
var overload = struct {
	measure, length time.Duration
	connections     int
}{time.Second, 2 * time.Second, 256}

var idle = struct {
	length   time.Duration
	webhooks int
}{3 * time.Second, 5000}

// backlog is how many events wait, how many are published beside them to measure it, and how many are
// delivered before and after a crash.
var backlog = struct{ events, published, delivered int }{50_000, 200, 2000}

// neighbours is how long a fast receiver is watched, and how many dead hosts another company has.
var neighbours = struct {
	length time.Duration
	dead   int
}{1500 * time.Millisecond, 100}

var retention = struct{ events, published int }{20_000, 200}

// hostile is how many wrong keys and slow connections a server meets.
var hostile = struct{ keys, slow, published int }{2000, 100, 150}

var soaking = struct {
	length    time.Duration
	perSecond float64
}{6 * time.Second, 100}

// The quiet companies of TestBenchCrowd, how long they rest, and how long the server is watched.
const (
	crowdOf    = 60
	crowdRest  = "1s"
	crowdWatch = "1s"
)

// greedy is a company with many filters: how many, how many large events it publishes, and how many events
// another company is measured by.
var greedy = struct {
	webhooks, events, measured int
	strict                     bool          // an idle machine is measured: the bound holds as it is written
	memory                     uint64        // bytes that filters may take
	patience                   time.Duration // how long its own reads may take
}{webhooks: 200, events: 12, measured: 150, memory: 96 << 20, patience: 10 * time.Second}

// setbacks are the ways in which a database goes back.
var setbacks = []setback{
	{name: "promoted", nodes: 2, prepare: promoted},
	{name: "restored", nodes: 1, prepare: loaded},
}

// servers is how real servers are sent to: probes at a time at the edge of their keep-alive time, so many
// rounds, and so many seconds with a reload in each. An event that waits for the schedule is later by
// four seconds at least: no busy machine is mistaken for that.
var servers = struct {
	probes, rounds, reloads int
	late                    time.Duration
}{16, 1, 2, 3 * time.Second}

// tlsStacksTried are those that TestTLSStacks tries.
var tlsStacksTried = []string{"openssl", "nginx"}

// day is how many changes a support desk makes, how long lies between two, and how often something is killed.
var day = struct {
	changes int
	between time.Duration
	hurts   int
}{600, 4 * time.Millisecond, 4}
