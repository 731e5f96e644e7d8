package schema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// maxPattern bounds the text of a pattern.
const maxPattern = 512

// pattern is a compiled pattern, and how many states a byte of text may meet.
type pattern struct {
	*regexp.Regexp
	states int
}

// newPattern compiles a pattern that RE2 and ECMAScript (with its flag u) both read, and read alike.
func newPattern(source string) (*pattern, error) {
	if len(source) > maxPattern {
		return nil, fmt.Errorf("the pattern has %d bytes, at most %d are allowed", len(source), maxPattern)
	}
	if err := (&scanner{rest: source}).scan(); err != nil {
		return nil, fmt.Errorf("not every library reads this pattern: %w", err)
	}
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("the pattern is wrong: %w", err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, fmt.Errorf("the pattern is wrong: %w", err)
	}
	if len(program.Inst) > maxStates {
		return nil, fmt.Errorf("the pattern has %d states, at most %d are allowed", len(program.Inst), maxStates)
	}
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("the pattern is wrong: %w", err)
	}
	return &pattern{re, len(program.Inst)}, nil
}

// scanner goes over a pattern and refuses what only one of the two syntaxes has. What neither has is left to
// RE2's parser.
type scanner struct {
	rest   string
	repeat bool // what stands before can be repeated
}

func (s *scanner) scan() error {
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		var err error
		switch c {
		case '\\':
			err = s.escape()
		case '[':
			err = s.class()
		case '(':
			s.repeat = false
			if after, special := strings.CutPrefix(s.rest, "?"); special {
				if !strings.HasPrefix(after, ":") {
					return errors.New("of groups with (? only (?: is read everywhere")
				}
				s.rest = after[1:]
			}
		case ')':
			s.repeat = true
		case '|', '^', '$':
			s.repeat = false
		case '*', '+', '?':
			err = s.repeated("")
		case '{':
			end := strings.IndexByte(s.rest, '}')
			if end < 0 {
				return errors.New(`a { that is meant itself is written \{`)
			}
			count := s.rest[:end]
			s.rest = s.rest[end+1:]
			err = s.repeated(count)
		case '}', ']':
			return fmt.Errorf(`a %c that is meant itself is written \%c`, c, c)
		default:
			s.repeat = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repeated reads what is behind a quantifier; count is the text between braces.
func (s *scanner) repeated(count string) error {
	if !s.repeat {
		return errors.New("there is nothing to repeat")
	}
	s.repeat = false
	s.rest = strings.TrimPrefix(s.rest, "?")
	if count == "" {
		return nil
	}
	least, most, _ := strings.Cut(count, ",")
	for i, text := range []string{least, most} {
		if text == "" && i == 1 {
			continue
		}
		if n, err := strconv.Atoi(text); err != nil || n > 1000 || strings.Trim(text, "0123456789") != "" {
			return errors.New(`counts are {n}, {n,} or {n,m} of at most 1000; a { that is meant itself is written \{`)
		}
	}
	return nil
}

// Escapes that both have: of characters, of classes, of places.
const (
	syntaxChars = `^$\.*+?()[]{}|/`
	controls    = "tnrfv"
	classes     = "dDwWsS"
	places      = "bB"
)

func (s *scanner) escape() error {
	_, err := s.escaped()
	s.repeat = err == nil
	if errors.Is(err, errPlace) {
		return nil
	}
	return err
}

var errPlace = errors.New(`\b and \B stand outside of classes`)

// escaped reads what is behind a backslash; class says that it stands for several characters.
func (s *scanner) escaped() (class bool, err error) {
	if s.rest == "" {
		return false, errors.New(`it ends in \`)
	}
	c := s.rest[0]
	s.rest = s.rest[1:]
	switch {
	case strings.IndexByte(syntaxChars+controls, c) >= 0:
		return false, nil
	case strings.IndexByte(classes, c) >= 0:
		return true, nil
	case strings.IndexByte(places, c) >= 0:
		return false, errPlace
	case c == 'x' && len(s.rest) >= 2 && strings.Trim(s.rest[:2], "0123456789abcdefABCDEF") == "":
		s.rest = s.rest[2:]
		return false, nil
	}
	return false, fmt.Errorf(`\%c is not read alike; escapes are those of %s, \d \w \s \b and their opposites, \t \n \r \f \v and \xHH`, c, syntaxChars)
}

// class reads what is between brackets.
func (s *scanner) class() error {
	s.rest = strings.TrimPrefix(s.rest, "^")
	if strings.HasPrefix(s.rest, "]") {
		return errors.New("a class has at least one character")
	}
	const (
		nothing = iota // before: nothing that a range could begin with
		char
		several // a class, which no range begins or ends with
		dash    // a range that waits for its end
	)
	before := nothing
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		now := char
		switch c {
		case ']':
			s.repeat = true
			return nil
		case '[':
			return errors.New(`a [ in a class is written \[`)
		case '\\':
			class, err := s.escaped()
			if err != nil {
				return err
			}
			if class {
				now = several
			}
		case '-':
			if before == several && !strings.HasPrefix(s.rest, "]") {
				return errors.New(`a - behind \w or its like stands at the end of the class`)
			}
			if before == char && !strings.HasPrefix(s.rest, "]") {
				now = dash
			}
		default:
		}
		if before == dash {
			if now == several {
				return errors.New(`a range ends in a character, not in \w or its like`)
			}
			now = nothing
		}
		before = now
	}
	return errors.New("a class has no end")
}
