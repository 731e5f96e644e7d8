//go:build full

package proof_test

import (
	"strings"
	"time"
)

const rigLasts = 2 * time.Hour

var crashes = campaign{events: 50_000, webhooks: 200, companies: 20, kills: 100, perSecond: 400, between: 1500 * time.Millisecond}

var once = struct {
	ids, postgres, atOnce, publishers, mostKills int
}{1000, 1000, 10, 100, 200}

const (
	postgresCuts = 10
	powerCuts    = 30
	controlCuts  = 10
)

var brokerHavoc = strings.Fields(strings.Repeat("server broker server both ", 10))

var rabbitQueues = []string{"quorum", "classic"}

// failpointRounds is how often the server ends at each failpoint.
const failpointRounds = 20

// killedWrites are the writes at which a migration is killed.
var killedWrites = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 20, 25, 30, 40, 60, 90, 150}

// faultyCalls are which of its calls fail.
var faultyCalls = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40}

// away is how often the database goes, and how.
var away = struct {
	restarts, kicks, crashes, silences int
	silence                            time.Duration
}{20, 60, 20, 2, 30 * time.Second}

// fleets is what happens to several nodes.
var fleets = struct {
	kills, pauses, restarts int
	between                 time.Duration // two kills
	perSecond, rolling      float64       // events, the latter while nodes are replaced
}{50, 50, 20, 10 * time.Second, 200, 500}

var overload = struct {
	measure, length time.Duration
	connections     int
}{5 * time.Second, time.Minute, 768}

var idle = struct {
	length   time.Duration
	webhooks int
}{30 * time.Second, 100_000}

var backlog = struct{ events, published, delivered int }{10_000_000, 2000, 50_000}

var neighbours = struct {
	length time.Duration
	dead   int
}{30 * time.Second, 1000}

var retention = struct{ events, published int }{500_000, 3000}

var hostile = struct{ keys, slow, published int }{10_000, 500, 1000}

var soaking = struct {
	length    time.Duration
	perSecond float64
}{15 * time.Minute, 200}

const (
	crowdOf    = 100_000
	crowdRest  = "90s"
	crowdWatch = "75s"
)

var greedy = struct {
	webhooks, events, measured int
	strict                     bool
	memory                     uint64 // bytes that filters may take
	patience                   time.Duration
}{webhooks: 1000, events: 100, measured: 1000, strict: true, memory: 64 << 20, patience: 2 * time.Second}

// setbacks are the ways in which a database goes back.
var setbacks = []setback{
	{name: "promoted under one", nodes: 1, prepare: promoted},
	{name: "promoted under two", nodes: 2, prepare: promoted},
	{name: "promoted late under one", nodes: 1, after: 15 * time.Second, prepare: promoted},
	{name: "promoted late under two", nodes: 2, after: 15 * time.Second, prepare: promoted},
	{name: "restored under one", nodes: 1, prepare: loaded},
	{name: "restored under two", nodes: 2, prepare: loaded},
	{name: "disk set back under one", nodes: 1, prepare: setOnDisk},
	{name: "disk set back under two", nodes: 2, prepare: setOnDisk},
	{name: "in step under one", nodes: 1, prepare: inStep, whole: true},
}

// servers is how real servers are sent to.
var servers = struct {
	probes, rounds, reloads int
	late                    time.Duration
}{24, 5, 15, time.Second}

// tlsStacksTried are those that TestTLSStacks tries.
var tlsStacksTried = []string{"openssl", "gnutls", "nginx", "apache", "haproxy", "stunnel", "node", "java"}

// inStep is the same with a standby that commits wait for.
func inStep(f *wentBack) (url string, kept, back func()) {
	url, _, back = promoted(f)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		f.do(f.cluster.Exec(f.ctx, f.database, statement))
	}
	return url, func() {}, back
}

// setOnDisk puts the server's files back as they were at one moment.
func setOnDisk(f *wentBack) (url string, kept, back func()) {
	return f.cluster.URL(f.database), func() { f.do(f.cluster.Snapshot(f.ctx)) }, func() { f.do(f.cluster.SetBack(f.ctx)) }
}

var day = struct {
	changes int
	between time.Duration
	hurts   int
}{20_000, 4 * time.Millisecond, 40}
