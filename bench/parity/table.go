package main

import (
	"regexp"
	"strings"
)

func re(s string) *regexp.Regexp { return regexp.MustCompile("^(?:" + s + ")$") }

// rules are tried in this order; the first that holds explains a difference.
var rules = []rule{
	// What a peer has and Stella has not.
	{
		class: "package.json without a version", verdict: notInstalled, tool: "syft", missing: true,
		key: re(`npm:.+`), places: re(`.*/package\.json`), check: withoutVersion,
		reason: "npm installs nothing without a version: these files set a module type, name an entry point of the package " +
			"around them, or stand beside code that was compiled into it; the version of that code is not in the image",
	},
	{
		class: "a main package without a version", verdict: notInstalled, tool: "syft", missing: true,
		key: re(`golang:.+`), check: withoutVersion,
		reason: "the program's own import path, built without a version: it names no module, and nothing can be looked up by it",
	},
	{
		class: "a program told by strings in it", verdict: sameThing, tool: "syft", missing: true,
		key: re(`generic:(curl|go|gzip|jq|krb5|xz)@.+`),
		check: otherKey(map[string]string{
			"curl": "deb:curl", "go": "golang:stdlib", "gzip": "deb:gzip", "jq": "deb:jq", "krb5": "deb:libkrb5-3", "xz": "deb:xz-utils",
		}),
		reason: "the Debian package that installed the program, or the Go standard library in it, is listed by both, in that version",
	},
	{
		class: "dependencies that a build file declares", verdict: notInstalled, tool: "scalibr", missing: true,
		key: re(`maven:.+`), places: re(`.*\.pom|.*/pom\.xml|.*/libs\.versions\.toml`),
		reason: "what a project's build asks for, tests included and often without a version: the project's source was built elsewhere",
	},
	{
		class: "development dependencies in package-lock.json", verdict: notInstalled, tool: "scalibr", missing: true,
		key: re(`npm:.+`), places: re(`usr/lib/ruby/gems/3\.1\.0/gems/typeprof-0\.21\.2/vscode/package-lock\.json`),
		reason: `entries marked "dev": npm does not install them with what is shipped`,
	},
	{
		class: "requirements without a version", verdict: notInstalled, tool: "scalibr", missing: true,
		key: re(`pypi:(click|furo|myst-parser|sphinx|sphinx-copybutton|sphinx-inline-tabs|sphinxcontrib-towncrier|towncrier)(@.+)?`), places: re(`.*/requirements\.txt`),
		reason: "a range or a bare name says what would do, not what is there",
	},
	{
		class: "pyproject.toml of a project", verdict: notInstalled, tool: "scalibr", missing: true,
		key: re(`pypi:gyp-next@.+`), places: re(`.*/node-gyp/gyp/pyproject\.toml`),
		reason: "the source of gyp as npm's node-gyp carries it, of which the npm package is listed; no Python package was installed from it",
	},
	{
		class: "a wheel that is not installed", verdict: gap, tool: "scalibr", missing: true,
		key: re(`pypi:setuptools@.+`), places: re(`usr/share/python-wheels/.*\.whl`),
		reason: "Debian keeps this wheel for new virtual environments; Stella reads installed metadata and does not open wheels",
	},
	{
		class: "the Go standard library as \"go\"", verdict: sameThing, tool: "scalibr", missing: true,
		key: re(`golang:go@.+`), check: func(c *comparison, d *difference) bool { return c.ours["golang:stdlib@"+d.version()] != nil },
		reason: "Stella and syft say stdlib, as the Go vulnerability database does",
	},
	{
		class: "(devel) for a version", verdict: peerWrong, tool: "scalibr", missing: true,
		key:    re(`golang:.+@\(devel\)`),
		check:  func(c *comparison, d *difference) bool { return everywhere(c, d, sameModule(d)) },
		reason: "the module in the same file, for which Stella gives the pseudo-version of the commit that the build recorded",
	},
	{
		class: "unknown/unknown", verdict: peerWrong, tool: "scalibr", missing: true,
		key:    re(`maven:unknown/unknown@unknown`),
		reason: "no identity at all, for JDK modules (.jmod) and archives without manifest; where there is a manifest, Stella names the archive after its file",
	},
	{
		class: "signing keys in rpm's database", verdict: notInstalled, missing: true, key: re(`rpm:gpg-pubkey@.+`),
		reason: "rpm keeps imported OpenPGP keys as records named gpg-pubkey: they hold no software",
	},
	{
		class: "a reference to a file of no package", verdict: peerWrong, tool: "syft", missing: true, key: re(`nuget:Vendor\.Native@2\.0\.0\.0`),
		reason: `of type "reference" in deps.json: a DLL that was built from no package`,
	},
	{
		class: "runtimepack. before the name", verdict: sameThing, tool: "syft", missing: true, key: re(`nuget:runtimepack\..+`),
		check: func(c *comparison, d *difference) bool {
			return c.ours["nuget:"+strings.TrimPrefix(d.key, "nuget:runtimepack.")] != nil
		},
		reason: "the prefix is deps.json's mark; the package on nuget is named without it",
	},

	// One archive under two names, in both directions.
	{
		class: "another group id", verdict: guess, missing: true, key: re(`maven:.+`), check: otherGroup,
		reason: "the same artifact and version in the same archive; the group id is guessed where the archive does not state it, see below",
	},
	{
		class: "named after the file", verdict: peerWrong, missing: true, key: re(`maven:.+`), check: namedAfterFile,
		reason: "the archive is listed under what its descriptor or manifest says; the peer makes a second package, or the only one, of the file's name",
	},
	{
		class: "named after a manifest", verdict: peerWrong, missing: true, key: re(`maven:.+`), check: otherNamedAfterFile,
		reason: "the peer takes the last part of Bundle-SymbolicName or a title for the artifact id; the file's name is the artifact id that Maven gave it",
	},
	{
		class: "named after Bundle-SymbolicName", verdict: peerWrong, tool: "syft", missing: true, key: re(`maven:.+`), check: namedAfterBundle,
		reason: "a second package for an archive that is listed under what its pom.properties says; Bundle-SymbolicName names no artifact of Maven",
	},
	{
		class: "another group id", verdict: guess, key: re(`maven:.+`), check: otherGroup,
		reason: "the same artifact and version in the same archive, see below",
	},
	{
		class: "named after the file", verdict: guess, key: re(`maven:.+`), check: namedAfterFile,
		reason: "the archive has no descriptor; the peer names it after its manifest, see below",
	},
	{
		class: "the peer named it after the file", verdict: peerWrong, key: re(`maven:.+`), check: otherNamedAfterFile,
		reason: "Stella takes the name from the archive's descriptor or manifest",
	},

	{
		class: "one archive, several names", verdict: guess, missing: true, key: re(`maven:.+`), check: otherName,
		reason: "the same file in several places, of which each is one of the above",
	},
	{
		class: "one archive, several names", verdict: guess, key: re(`maven:.+`), check: otherName,
		reason: "the same file in several places, of which each is one of the above",
	},
	{
		class: "an archive with others' descriptors in it", verdict: peerMisses, tool: "scalibr", key: re(`maven:.+`), check: besidesShaded,
		reason: "scalibr lists what is shaded into the archive and not the archive; syft has it too",
	},
	{
		class: "a pom.xml without pom.properties", verdict: peerMisses, tool: "scalibr", key: re(`maven:com\.github\.jnr/jnr-x86asm@1\.0\.2`),
		reason: "shaded into jruby-core.jar with its pom.xml alone; syft has it too",
	},

	// What only Stella has.
	{
		class: "lockfiles", verdict: peerMisses, tool: "syft",
		key:    re(`(npm|gem|pypi|composer):.+`),
		places: re(`.*/(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|Gemfile\.lock|gems\.locked|composer\.lock|poetry\.lock|Pipfile\.lock|requirements[^/]*\.txt)`),
		reason: "syft reads lockfiles in directories, not in images; Stella marks what only a lockfile names as declared",
	},
	{
		class: "package.json with unusual authors", verdict: peerWrong, tool: "syft",
		key: re(`npm:toposort-class@1\.0\.1`), reason: "its author is a list, and syft drops the file for that",
	},
	{
		class: "runtime packs", verdict: sameThing, tool: "syft", key: re(`nuget:.+`),
		check: func(c *comparison, d *difference) bool {
			return c.theirs["nuget:runtimepack."+strings.TrimPrefix(d.key, "nuget:")] != nil
		},
		reason: "syft leaves the prefix runtimepack. in the name",
	},
	{
		class: "installed.json with a licence that is a string", verdict: peerWrong, tool: "syft", key: re(`composer:(acme/kit|monolog/monolog|phpunit/phpunit|psr/log)@.+`),
		places: re(`srv/php/(vendor/composer/installed\.json|composer\.lock)`),
		reason: "one of its packages states its licence as a string, and syft drops the file for that",
	},
	{
		class: "Composer, NuGet and cargo-auditable", verdict: peerMisses, tool: "scalibr", key: re(`(composer|nuget|cargo):.+`),
		places: re(`.*/installed\.json|.*/composer\.lock|.*\.deps\.json|usr/bin/rusty`),
		reason: "scalibr's default plugins find none of them",
	},
	{
		class: "gems", verdict: peerMisses, tool: "scalibr", key: re(`gem:.+`),
		places: re(`.*/specifications/(default/)?[^/]+\.gemspec|.*/Gemfile\.lock`),
		reason: "scalibr's default plugins find none of the installed gems",
	},
	{
		class: "the Go standard library", verdict: sameThing, tool: "scalibr", key: re(`golang:stdlib@.+`),
		check:  func(c *comparison, d *difference) bool { return c.theirs["golang:go@"+d.version()] != nil },
		reason: "scalibr calls it go",
	},
	{
		class: "the version of a main module", verdict: peerWrong, tool: "scalibr", key: re(`golang:.+`),
		check:  func(c *comparison, d *difference) bool { return everywhere(c, d, sameModule(d)) },
		reason: "scalibr says (devel)",
	},
	{
		class: "the project of a lockfile", verdict: peerMisses, tool: "scalibr",
		key: re(`npm:ruby-typeprof@0\.20\.1`), reason: "a package.json outside of node_modules; syft has it too",
	},
}

// sameModule: the other tool has the module in that place, whatever version it gives.
func sameModule(d *difference) func(string, *found) bool {
	name, _ := cutVersion(d.key)
	return func(_ string, o *found) bool {
		other, _ := cutVersion(o.key)
		return other == name
	}
}
