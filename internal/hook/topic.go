package hook

import (
	"math/bits"
	"slices"
	"strings"
)

// Topic is one entry of the catalogue.
type Topic struct {
	Name        string
	Category    string
	Description string // the documentation's sentence
	Summary     string // ours: when it is sent, in plain words
	Sample      string // a realistic published document
}

// Topics is the catalogue, in the order of the documentation. Callers must not change it.
func Topics() []Topic { return catalogue[:] }

// ValidTopic reports whether a text can be a topic's name: 1–64 of a-z, 0-9 and _, in parts between dots.
func ValidTopic(name string) bool {
	if len(name) > 64 {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return false
		}
	}
	return true
}

// TopicWithin reports whether a topic is the one that a prefix names, or begins with it and a dot. An empty
// prefix is all topics.
func TopicWithin(topic, prefix string) bool {
	rest, ok := strings.CutPrefix(topic, prefix)
	return ok && (prefix == "" || rest == "" || rest[0] == '.')
}

// TopicSet is a set of topics, one bit for each entry of the catalogue.
type TopicSet uint32

var topicIndex = func() map[string]int {
	index := make(map[string]int, len(catalogue))
	for i, t := range catalogue {
		index[t.Name] = i
	}
	return index
}()

// LookupTopic returns the catalogue's entry of a name.
func LookupTopic(name string) (Topic, bool) {
	i, ok := topicIndex[name]
	if !ok {
		return Topic{}, false
	}
	return catalogue[i], true
}

// Has reports whether the set holds the topic of that name.
func (s TopicSet) Has(name string) bool {
	i, ok := topicIndex[name]
	return ok && s&(1<<i) != 0
}

// Len is the number of topics in the set.
func (s TopicSet) Len() int { return bits.OnesCount32(uint32(s)) }

// MatchTopics resolves patterns (exact names, "prefix.*" for every topic that begins with
// "prefix.", "*" for all) to a set. It returns the first pattern that names no topic.
func MatchTopics(patterns []string) (set TopicSet, unknown string) {
	for _, p := range patterns {
		before := set
		prefix, wild := strings.CutSuffix(p, "*")
		wild = wild && (prefix == "" || strings.HasSuffix(prefix, "."))
		matched := false
		for i, t := range catalogue {
			if t.Name == p || wild && strings.HasPrefix(t.Name, prefix) {
				set |= 1 << i
				matched = true
			}
		}
		if !matched {
			return before, p
		}
	}
	return set, ""
}

// NearestTopic is the catalogue's name closest to a misspelt one, or "" if none is near.
func NearestTopic(name string) string {
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = t.Name
	}
	return Nearest(name, names)
}

// Nearest is the name closest to a misspelt one, or "" if none is near.
func Nearest(name string, names []string) string {
	best, distance := "", 1+len(name)/2
	for _, n := range names {
		if d := editDistance(strings.ToLower(name), n); d < distance {
			best, distance = n, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{cost, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
