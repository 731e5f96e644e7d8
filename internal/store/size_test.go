//go:build !full

package store_test

// filledRows is how many rows the largest tables have when plans are looked at.
const filledRows = 40_000
