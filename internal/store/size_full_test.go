//go:build full

package store_test

// filledRows is how many rows the largest tables have when plans are looked at.
const filledRows = 10_000_000

var churned = struct{ perMinute, retentions, snapshot int }{1000, 20, 240}
