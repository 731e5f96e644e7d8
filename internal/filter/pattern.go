package filter

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxStates bounds the patterns of one expression by the states of the machines they are compiled to.
const maxStates = 1000

// states is at most how many states a pattern compiles to, found without compiling it: what repeats
// stands in the machine as often as it may repeat.
func states(pattern string) (int, error) {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	return 2 + size(tree), nil
}

func size(re *syntax.Regexp) int {
	n := 1
	switch re.Op {
	case syntax.OpLiteral:
		n = len(re.Rune)
	case syntax.OpCharClass:
		n = 1 + len(re.Rune)/16 // ranges are searched, and kept
	case syntax.OpCapture:
		n = 2
	case syntax.OpAlternate:
		n = len(re.Sub)
	default: // one state, and what is inside
	}
	for _, sub := range re.Sub {
		n = min(n+size(sub), 1<<20)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min+1, re.Max)
	}
	return min(n+1, 1<<20)
}

// pattern is a compiled pattern and what a byte of text costs it.
type pattern struct {
	re     *regexp.Regexp
	states int
	most   int // bytes that it looks at; −1 for all
}

func newPattern(source string) (*pattern, error) {
	n, err := states(source)
	if err != nil {
		return nil, fmt.Errorf("the pattern %.80q is wrong: %w", source, err)
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("the pattern %.80q is wrong: %w", source, err)
	}
	tree, _ := syntax.Parse(source, syntax.Perl)
	return &pattern{re: re, states: n, most: reach(tree)}, nil
}

// reach is how many bytes a pattern looks at that must match at the beginning of the text.
func reach(re *syntax.Regexp) int {
	if re.Op != syntax.OpConcat || re.Sub[0].Op != syntax.OpBeginText {
		return -1
	}
	return longest(re)
}

// longest is how many bytes a match has at most, −1 for any number.
func longest(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpLiteral:
		return 4 * len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 4
	case syntax.OpStar, syntax.OpPlus:
		return -1
	default: // what is inside
	}
	for _, sub := range re.Sub {
		m := longest(sub)
		if m < 0 {
			return -1
		}
		n += m // of alternatives one would do
	}
	if re.Op == syntax.OpRepeat {
		if re.Max < 0 {
			return -1
		}
		n *= re.Max
	}
	return n
}

// cost is what it takes at most to look for the pattern in so many bytes, in steps: each byte may
// meet each state.
func (p *pattern) cost(bytes int) int {
	if p.most >= 0 {
		bytes = min(bytes, p.most)
	}
	return 1 + (bytes+1)*(p.states+3)/4
}
