//go:build !full

package store_test

// filledRows is how many rows the largest tables have when plans are looked at.
const filledRows = 40_000

// churned is how much comes and goes under a retention: how many retentions pass, and how many minutes
// behind a snapshot.
var churned = struct{ perMinute, retentions, snapshot int }{100, 3, 40}
