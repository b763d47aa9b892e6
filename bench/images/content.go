package images

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
)

// words are the vocabulary of generated source text. Real JavaScript compresses
// by about 3:1 to 4:1 with gzip, and so does a shuffle of this.
var words = []string{
	"const", "function", "return", "module.exports", "require", "if", "else", "typeof", "undefined", "null",
	"this", "Object.defineProperty", "exports", "prototype", "length", "push", "callback", "err", "options",
	"=>", "===", "&&", "||", "{", "}", "(", ")", ";\n", ",", "[", "]", "'use strict';\n", "// eslint-disable-line\n",
	"async", "await", "Promise.resolve", "throw new TypeError", "for (let i = 0;", "class", "extends", "import", "from",
}

// source appends n bytes of generated source text to dst. Every eighth token is a
// random identifier, as names are in real code.
func source(dst []byte, r *rand.Rand, n int) []byte {
	end := len(dst) + n
	for len(dst) < end {
		if r.IntN(8) == 0 {
			dst = fmt.Appendf(dst, "_%x ", r.Uint32())
			continue
		}
		dst = append(dst, words[r.IntN(len(words))]...)
		dst = append(dst, ' ')
	}
	return dst[:end]
}

// packageName is the i-th npm package; one in five has a scope.
func packageName(i int) string {
	if i%5 == 0 {
		return fmt.Sprintf("@scope-%d/pkg-%05d", i%97, i)
	}
	return fmt.Sprintf("pkg-%05d", i)
}

// packageJSON is the package.json that npm would have unpacked for package i.
func packageJSON(i, minor int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{
  "name": %q,
  "version": "%d.%d.%d",
  "description": "generated package number %d",
  "main": "lib/index.js",
  "license": %q,
  "author": {"name": "Author %d", "email": "author%d@example.com", "url": "https://example.com/%d"},
  "repository": {"type": "git", "url": "git+https://example.com/packages/%d.git"},
  "bugs": {"url": "https://example.com/packages/%d/issues"},
  "keywords": ["generated", "bench", "k%d"],
  "scripts": {"test": "node test.js", "lint": "eslint ."},
  "dependencies": {`, packageName(i), 1+i%4, minor, i%10, i, []string{"MIT", "ISC", "Apache-2.0", "BSD-3-Clause"}[i%4],
		i%500, i%500, i, i, i, i%64)
	for d := range i % 6 {
		if d > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q: \"^%d.0.0\"", packageName((i+d*131+1)%20000), 1+d%3)
	}
	b.WriteString("},\n  \"engines\": {\"node\": \">=16\"}\n}\n")
	return b.Bytes()
}

// blob is a reader of n bytes that gzip shrinks to about 45 %: random blocks
// between repeated ones, as in executables, archives and data files.
func blob(seed uint64, n int64) io.Reader {
	return io.LimitReader(&blobReader{r: rand.NewPCG(seed, blobSalt)}, n)
}

const (
	blobSalt  = 0x5ca1ab1e // sets these streams apart from the text ones
	blockSize = 4096
)

type blobReader struct {
	r     *rand.PCG
	block [blockSize]byte
	left  []byte
	count int
}

// Read never fails. Of nine blocks four are random and five repeat a short pattern.
func (b *blobReader) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		random := blockSize
		if b.count%9 >= 4 {
			random = 64
		}
		for i := 0; i < random; i += 8 {
			v := b.r.Uint64()
			for j := range 8 {
				b.block[i+j] = byte(v >> (8 * j))
			}
		}
		for i := random; i < blockSize; i += random {
			copy(b.block[i:], b.block[:random])
		}
		b.count++
		b.left = b.block[:]
	}
	n := copy(p, b.left)
	b.left = b.left[n:]
	return n, nil
}
