package kmsg

import "bytes"

// finder finds the lines that matter in a buffer of many, at a speed near that of memory. For each
// word it looks for that byte of it which is rarest in logs (for which the processor has instructions), and compares around it.
type finder struct {
	passes []pass
}

// pass looks for one byte, for all words that have it as their rarest.
type pass struct {
	rare  byte
	words []word
	next  int // where in the buffer the next word is, len of the buffer if there is none
}

type word struct {
	text   string
	offset int // of the rare byte
}

func newFinder(words []string) *finder {
	f := &finder{}
next:
	for _, text := range words {
		w := word{text: text}
		for i := range len(text) {
			if frequency(text[i]) < frequency(text[w.offset]) {
				w.offset = i
			}
		}
		for i := range f.passes {
			if f.passes[i].rare == text[w.offset] {
				f.passes[i].words = append(f.passes[i].words, w)
				continue next
			}
		}
		f.passes = append(f.passes, pass{rare: text[w.offset], words: []word{w}})
	}
	return f
}

// frequency says roughly how often a byte is in logs: the later in the list, the rarer.
func frequency(c byte) int {
	const order = " 0e1:2t.ai3o5r4nsc-7689d=lmx[]_p/fuh,bvgykw()+DCPAESRIBFTNMxULq\"VzOGHjWJK"
	if i := bytes.IndexByte([]byte(order), c); i >= 0 {
		return len(order) - i
	}
	return len(order) / 4
}

// reset begins with a new buffer.
func (f *finder) reset(b []byte) {
	for i := range f.passes {
		f.passes[i].next = f.passes[i].find(b, 0)
	}
}

// from is where the next word is, at or behind from; len(b) is none.
func (f *finder) from(b []byte, from int) int {
	least := len(b)
	for i := range f.passes {
		p := &f.passes[i]
		if p.next < from {
			p.next = p.find(b, from)
		}
		least = min(least, p.next)
	}
	return least
}

// find is where the next of the words begins, at or behind from.
func (p *pass) find(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], p.rare)
		if n < 0 {
			return len(b)
		}
		i += n
		for j := range p.words {
			w := &p.words[j]
			if start := i - w.offset; start >= from && len(b)-start >= len(w.text) && string(b[start:start+len(w.text)]) == w.text {
				return start
			}
		}
	}
	return len(b)
}
