package hostile

import "fmt"

// in is a layer with one file that is made, beside the good packages.
func in(path string, c content) func(*image) {
	return func(m *image) { m.hostile(zstded, func(w *tarball) { w.made(path, c) }) }
}

const hugePath = "opt/huge/package.json"

// manifestWith is a package.json with something in the middle.
func manifestWith(middle content) content {
	return join(text(`{"name": "huge", `), middle, text(`, "version": "1"}`))
}

func name(i int) string { return fmt.Sprintf("p%07d", i) }

var jsonInputs = []input{
	{name: "package-json-1g-string", what: "a package.json of 1 GB: one string", does: "finds the package",
		make: in(hugePath, manifestWith(join(text(`"description": "`), repeat("a", 1e9), text(`"`)))), finds: []string{"pkg:npm/huge@1"}},
	{name: "package-json-1g-name", what: "a package.json of 1 GB: its name", does: "says that the file names no package that can be kept",
		make: in(hugePath, join(text(`{"version": "1", "name": "`), repeat("a", 1e9), text(`"}`))), exit: 5, says: []string{hugePath}},
	{name: "package-json-1g-array", what: "a package.json of 1 GB: an array of dependencies", does: "finds the package",
		make: in(hugePath, manifestWith(join(text(`"dependencies": ["a"`), repeat(`,"dependency"`, 1_000_000_000/13), text(`]`)))), finds: []string{"pkg:npm/huge@1"}},
	{name: "package-json-dependencies", what: "a package.json with 2 million dependencies", does: "finds the package, and says that most edges are left out",
		make: in(hugePath, manifestWith(join(text(`"dependencies": {"a": ""`), numbered(2_000_000, func(i int) string { return `,"` + name(i) + `":"*"` }), text(`}`)))),
		exit: 5, says: []string{hugePath}, finds: []string{"pkg:npm/huge@1"}},
	{name: "package-json-1g-nested", what: "a package.json of 1 GB: arrays inside each other", does: "says how deep it reads",
		make: in(hugePath, manifestWith(join(text(`"x": `), repeat("[", 5e8), repeat("]", 5e8)))), exit: 5, says: []string{hugePath}},
	{name: "package-json-50m", what: "a package.json of 50 MiB: 200,000 members", does: "finds the package",
		make: in(hugePath, manifestWith(join(text(`"a": 0`), numbered(200_000, func(i int) string {
			return fmt.Sprintf(`,%q: {"k": [%d, "v", null, true, 1.5e3], "%0200d": "\u00e4"}`, name(i), i, i)
		})))), finds: []string{"pkg:npm/huge@1"}},
	{name: "licences-200000", what: "a package.json with 200,000 licences", does: "finds the package with the first licences, and says how many are left out",
		make: in(hugePath, manifestWith(join(text(`"licenses": ["MIT"`), numbered(200_000, func(i int) string { return `,{"type":"L-` + name(i) + `"}` }), text(`]`)))),
		exit: 5, says: []string{"licences", hugePath}, finds: []string{"pkg:npm/huge@1"}},
	{name: "package-lock-100m", what: "a package-lock.json with 500,000 packages", does: "finds them all",
		make: in("srv/package-lock.json", join(text(`{"name":"srv","lockfileVersion":3,"packages":{"":{"name":"srv"}`),
			numbered(500_000, func(i int) string {
				return fmt.Sprintf(`,"node_modules/%s":{"version":"1.0.0","resolved":"https://registry.invalid/%s.tgz","integrity":"sha512-%064d","dependencies":{"p0":"1"}}`, name(i), name(i), i)
			}), text(`}}`))), counts: map[string]int{"npm": 500_004}},
	{name: "deps-json-8m", what: "a deps.json of 8 MiB: 30,000 packages", does: "finds them all",
		make: in("app/app.deps.json", join(text(`{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"targets":{".NETCoreApp,Version=v8.0":{"app/1.0.0":{}`),
			numbered(30_000, func(i int) string {
				return fmt.Sprintf(`,"%s/1.0.0":{"dependencies":{"%s":"1.0.0"},"runtime":{"lib/net8.0/%s.dll":{"assemblyVersion":"1.0.0.0"}}}`, name(i), name(i+1), name(i))
			}), text(`}},"libraries":{"app/1.0.0":{"type":"project","serviceable":false}`),
			numbered(30_000, func(i int) string {
				return fmt.Sprintf(`,"%s/1.0.0":{"type":"package","serviceable":true,"sha512":"sha512-%064d","path":"%s/1.0.0"}`, name(i), i, name(i))
			}), text(`}}`))), counts: map[string]int{"nuget": 30_000}},
	{name: "deps-json-nested", what: "a deps.json of 64 MiB of opening brackets", does: "names the file",
		make: in("app/app.deps.json", join(text(`{"targets":`), repeat("[", 64<<20))), exit: 5, says: []string{"app/app.deps.json"}},
	{name: "json-garbage", what: "lockfiles and manifests of noise", does: "names each file",
		make: func(m *image) {
			m.hostile(gzipped, func(w *tarball) {
				for _, p := range []string{"a/package.json", "a/package-lock.json", "a/composer.lock", "a/a.deps.json"} {
					w.made(p, noise(100_000))
				}
			})
		}, exit: 5, says: []string{"a/package.json", "a/package-lock.json", "a/composer.lock", "a/a.deps.json"}},
}
