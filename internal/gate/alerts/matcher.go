package alerts

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

const (
	// maxRegexp bounds the text of a regular expression, in bytes.
	maxRegexp = 512
	// maxProgram bounds what it becomes, in steps of 40 bytes or so: a few characters, as in (a{30}){30}, can become a thousand.
	maxProgram = 1000
	// fewCharacters is how many characters a class may have and still be a choice, as in node-[123], and not nearly any.
	fewCharacters = 16
)

// matcher is a condition on a label of an alert, as Alertmanager has them. A label that an alert lacks is like one whose value is "".
type matcher struct {
	name, value string
	op          string
	regexp      *regexp.Regexp // that has to match all of the value, for =~ and !~
	steps       int            // of the regular expression
	// pins is that the matcher asks for something particular: that a label is a text, or has characters of a few. All else can be so of any alert.
	pins bool
}

// parseMatcher reads what Alertmanager reads: name="value", with one of =, !=, =~ and !~. The quotes may be left out where the value has none of
// the characters that stand for something. In quotes \", \\ and \n are a quote, a backslash and a new line; another backslash is itself.
func parseMatcher(text string) (m matcher, err error) {
	name, rest, err := labelName(strings.TrimSpace(text))
	if err != nil {
		return matcher{}, err
	}
	m.name = name
	for _, op := range []string{"=~", "!~", "!=", "="} {
		if after, ok := strings.CutPrefix(rest, op); ok {
			m.op, rest = op, after
			break
		}
	}
	if m.op == "" {
		return matcher{}, errors.New(`there is none of =, !=, =~ and !~ after the name of a label`)
	}
	if m.value, err = labelValue(strings.TrimSpace(rest)); err != nil {
		return matcher{}, err
	}
	switch m.op {
	case "=":
		m.pins = m.value != ""
	case "=~", "!~":
		err = m.compile()
	}
	return m, err
}

// labelName takes the name of a label, and the space after it. Names with other characters than these are in quotes.
func labelName(text string) (name, rest string, err error) {
	end := strings.IndexAny(text, "=!~ \t")
	if strings.HasPrefix(text, `"`) {
		if end = strings.IndexByte(text[1:], '"') + 2; end == 1 {
			end = -1
		}
	}
	if end < 0 {
		return "", "", errors.New(`it is not like alertname="Name"`)
	}
	name, rest = text[:end], strings.TrimLeft(text[end:], " \t")
	if strings.HasPrefix(name, `"`) {
		name = name[1 : len(name)-1]
		if name == "" || strings.ContainsAny(name, "\\\n") {
			return "", "", fmt.Errorf("%.64q is no name of a label", name)
		}
		return name, rest, nil
	}
	if !plainName.MatchString(name) {
		return "", "", fmt.Errorf("%.64q is no name of a label", name)
	}
	return name, rest, nil
}

var plainName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

func labelValue(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errors.New("the value is not UTF-8")
	}
	inner, quoted := strings.CutPrefix(text, `"`)
	if !quoted {
		if strings.ContainsAny(text, "\"\\{},\n") {
			return "", errors.New("the value needs quotes around it")
		}
		return text, nil
	}
	var value strings.Builder
	for i := 0; i < len(inner); i++ {
		switch c := inner[i]; {
		case c == '"' && i == len(inner)-1:
			return value.String(), nil
		case c == '"':
			return "", errors.New(`there is something after the value; a quote in it is \"`)
		case c == '\\' && i+1 < len(inner) && strings.IndexByte(`"\n`, inner[i+1]) >= 0:
			i++
			value.WriteByte(map[byte]byte{'"': '"', '\\': '\\', 'n': '\n'}[inner[i]])
		default:
			value.WriteByte(c)
		}
	}
	return "", errors.New("the value's quotes do not end")
}

// compile makes the value a regular expression for all of a label's value. It is bounded before it is made, since that takes the memory.
func (m *matcher) compile() error {
	if len(m.value) > maxRegexp {
		return fmt.Errorf("a regular expression of %d bytes, and it may have %d", len(m.value), maxRegexp)
	}
	tree, err := syntax.Parse(m.value, syntax.Perl)
	if err != nil {
		return err
	}
	if m.steps = steps(tree); m.steps > maxProgram {
		return fmt.Errorf("a regular expression that takes %d steps, and may take %d: count less in it", m.steps, maxProgram)
	}
	m.pins = m.op == "=~" && pins(tree)
	m.regexp, err = regexp.Compile("^(?:" + m.value + ")$")
	return err
}

// steps is about how many a regular expression takes, when what it repeats is written out.
func steps(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += steps(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max) + 1
	}
	return n
}

// pins reports whether all that a regular expression matches has a certain character, or one of a few.
func pins(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return true
	case syntax.OpCharClass:
		n := 0
		for i := 0; i+1 < len(re.Rune); i += 2 {
			n += int(re.Rune[i+1]-re.Rune[i]) + 1
		}
		return n <= fewCharacters
	case syntax.OpCapture, syntax.OpPlus:
		return pins(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min > 0 && pins(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if pins(sub) {
				return true
			}
		}
		return false
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !pins(sub) {
				return false
			}
		}
		return true
	}
	return false
}

func (m *matcher) matches(labels map[string]string) bool {
	value := labels[m.name]
	switch m.op {
	case "=":
		return value == m.value
	case "!=":
		return value != m.value
	case "=~":
		return m.regexp.MatchString(value)
	}
	return !m.regexp.MatchString(value)
}
