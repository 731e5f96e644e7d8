package hook

import (
	"slices"
	"strings"
)

// Topic is one entry of the catalogue.
type Topic struct {
	Name        string
	Category    string
	Description string     // of a built-in topic the documentation's sentence
	Summary     string     // when it is sent, in plain words
	Sample      string     // a realistic published document; "" for none
	Schema      string     // what a document may be, as a JSON Schema; "" for no rule
	Since       string     // since when, or since which revision, it is sent; "" for always
	Validate    Validation // what becomes of documents that the schema forbids; "" for what the company says
	DeriveFrom  string     // the type of objects whose changes mean an event of the topic; "" for none
	DerivePaths string     // which: JSON pointers, one a line; "" for any
	Deprecated  bool
}

// Topics are the built-in ones, in the order of the documentation. Callers must not change them.
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

// Catalogue is all topics at a moment: the built-in ones, then the platform's own by name. It does not
// change; nil is the built-in ones.
type Catalogue struct {
	topics []Topic
	index  map[string]int
	gone   []Topic // names and categories
}

// NewCatalogue is the catalogue with topics of the platform's own, and with those that there were.
func NewCatalogue(own []Topic, gone ...Topic) *Catalogue {
	topics := append(slices.Clone(catalogue[:]), own...)
	slices.SortFunc(topics[len(catalogue):], func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	c := &Catalogue{topics, make(map[string]int, len(topics)), gone}
	for i := range topics {
		c.index[topics[i].Name] = i
	}
	return c
}

// Topics are all topics. Callers must not change them.
func (c *Catalogue) Topics() []Topic {
	if c == nil {
		return catalogue[:]
	}
	return c.topics
}

// Lookup returns the entry of a name.
func (c *Catalogue) Lookup(name string) (Topic, bool) {
	if c == nil {
		return LookupTopic(name)
	}
	i, ok := c.index[name]
	if !ok {
		return Topic{}, false
	}
	return c.topics[i], true
}

// Nearest is the name closest to a misspelt one, or "" if none is near.
func (c *Catalogue) Nearest(name string) string {
	names := make([]string, 0, len(c.Topics()))
	for _, t := range c.Topics() {
		names = append(names, t.Name)
	}
	return Nearest(name, names)
}

// Ever are all topics, and after them those that there were: events of theirs may still be there.
func (c *Catalogue) Ever() []Topic {
	if c == nil {
		return catalogue[:]
	}
	return append(slices.Clip(c.topics), c.gone...)
}

// Was reports whether there is a topic of a name, or was one.
func (c *Catalogue) Was(name string) bool {
	return slices.ContainsFunc(c.Ever(), func(t Topic) bool { return t.Name == name })
}

// Known reports whether a pattern covers a topic that there is.
func (c *Catalogue) Known(pattern string) bool {
	return slices.ContainsFunc(c.Topics(), func(t Topic) bool { return covers(pattern, t.Name) })
}

// Covered are the topics in a set.
func (c *Catalogue) Covered(s TopicSet) (list []Topic) {
	for _, t := range c.Topics() {
		if s.Has(t.Name) {
			list = append(list, t)
		}
	}
	return list
}

var builtIn = NewCatalogue(nil)

// LookupTopic returns the entry of a built-in topic.
func LookupTopic(name string) (Topic, bool) { return builtIn.Lookup(name) }

// TopicSet is what patterns cover, whether a topic of that name exists or not: exact names, "prefix.*" for
// every topic that begins with "prefix.", "*" for all. It depends on their texts alone, so that what matched
// once matches for ever, whatever becomes of the catalogue. Sets of the same patterns are equal.
type TopicSet struct {
	builtIn uint32 // one bit for each of the built-in topics
	own     string // the patterns that others can match, sorted, one a line
}

// MatchTopics resolves patterns to a set. What is no pattern covers nothing.
func MatchTopics(patterns []string) (set TopicSet) {
	var own []string
	for _, p := range patterns {
		for i := range catalogue {
			if covers(p, catalogue[i].Name) {
				set.builtIn |= 1 << i
			}
		}
		if _, ok := builtIn.index[p]; !ok && p != "" && !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	slices.Sort(own)
	set.own = strings.Join(own, "\n")
	return set
}

// Others reports whether the set can hold topics that are not built in.
func (s TopicSet) Others() bool { return s.own != "" }

func covers(pattern, name string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if wild && (prefix == "" || strings.HasSuffix(prefix, ".")) {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// Has reports whether the set covers the topic of that name.
func (s TopicSet) Has(name string) bool {
	if i, ok := builtIn.index[name]; ok {
		return s.builtIn&(1<<i) != 0
	}
	if s.own == "" {
		return false
	}
	for pattern := range strings.SplitSeq(s.own, "\n") {
		if covers(pattern, name) {
			return true
		}
	}
	return false
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
