package java

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
)

// member is one member of a test archive. Stored unless deflate is set.
type member struct {
	name, content string
	deflate       bool
}

func jar(members ...member) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name}
		if m.deflate {
			h.Method = zip.Deflate
		}
		f, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(f, m.content)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func manifestOf(lines ...string) member {
	return member{"META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n", true}
}

func properties(group, artifact, version string) member {
	return member{"META-INF/maven/" + group + "/" + artifact + "/pom.properties",
		"#Created by Apache Maven\nversion=" + version + "\ngroupId=" + group + "\nartifactId=" + artifact + "\n", true}
}

func pomXML(group, artifact, body string) member {
	return member{"META-INF/maven/" + group + "/" + artifact + "/pom.xml", "<project>" + body + "</project>", true}
}

// lines makes packages comparable: "group:artifact@version (member)".
func lines(r *extracttest.Result) (v []string) {
	for i, p := range r.Packages {
		s := fmt.Sprintf("%s:%s@%s", p.Namespace, p.Name, p.Version)
		if r.Members[i] != "" {
			s += " (" + r.Members[i] + ")"
		}
		v = append(v, s)
	}
	return v
}

func TestWants(t *testing.T) {
	for path, want := range map[string]bool{
		"app.jar": true, "a/B.WAR": true, "x.ear": true, "p.hpi": true, "p.jpi": true, "k.kar": true, "n.nar": true,
		"l.lpkg": true, "r.rar": true, "z.zap": true, "a.zip": false, "jar": false, "a.jar.txt": false, "": false, ".jar": true,
	} {
		if got := New().Wants(extract.Header{Path: path, Size: 100}); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
	h := extract.Header{Path: "usr/share/java/some-library-1.2.3.JAR", Size: 100}
	if n := testing.AllocsPerRun(100, func() { New().Wants(h) }); n > 0 {
		t.Errorf("Wants allocates %v times", n)
	}
}

// The identities on Maven Central of what Debian built; syft 1.52 gives the same for
// the first two, and a second, wrong package for the last.
func TestDebianJars(t *testing.T) {
	for file, want := range map[string]string{
		"slf4j-nop.jar":                       "org.slf4j:slf4j-nop@1.7.32",
		"geronimo-interceptor-3.0-spec.jar":   "org.apache.geronimo.specs:geronimo-interceptor_3.0_spec@1.0.1",
		"error-prone-type-annotations.jar":    "com.google.errorprone:error_prone_type_annotations@2.18.0",
		"guice-spring.jar":                    "com.google.inject.extensions:guice-spring@4.2.3", // there is no descriptor
		"guice-spring.jar as spring-core.jar": "org.springframework:spring-core@4.2.3",
	} {
		name, as, renamed := strings.Cut(file, " as ")
		if !renamed {
			as = name
		}
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		r := extracttest.Run(t, New(), "usr/share/java/"+as, data)
		if d := cmp.Diff([]string{want}, lines(r)); d != "" || r.Err != nil || r.Reasons != nil {
			t.Error(file, d, r.Err, r.Reasons)
		}
	}
}

// The expected group ids are those of the Maven repository that Debian 12's packages of these artifacts install.
func TestGroupOfWellKnownArtifacts(t *testing.T) {
	for file, want := range map[string]string{
		"asm-9.4.jar":                     "org.ow2.asm:asm@9.4",
		"asm-3.3.jar":                     "asm:asm@3.3",
		"asm-util-9.4.jar":                "org.ow2.asm:asm-util@9.4",
		"c3p0-0.9.1.2.jar":                "c3p0:c3p0@0.9.1.2",
		"c3p0-0.9.10.jar":                 "com.mchange:c3p0@0.9.10",
		"commons-logging-api-1.2.jar":     "commons-logging:commons-logging-api@1.2",
		"derbyLocale_pt_BR-10.14.2.0.jar": "org.apache.derby:derbyLocale_pt_BR@10.14.2.0",
		"gradle-core-4.4.1.jar":           "gradle-core:gradle-core@4.4.1", // Gradle's own have a title in the manifest
		"groovy-json-2.4.21.jar":          "org.codehaus.groovy:groovy-json@2.4.21",
		"groovy-json-4.0.1.jar":           "org.apache.groovy:groovy-json@4.0.1",
		"scala-xml_2.11-1.0.3.jar":        "org.scala-lang.modules:scala-xml_2.11@1.0.3",
		"scala-library-2.11.12.jar":       "org.scala-lang:scala-library@2.11.12",
		"xml-apis-1.3.04.jar":             "xml-apis:xml-apis@1.3.04",
		"groovyless-1.0.jar":              "groovyless:groovyless@1.0",
		"gradle-core-4.4.1.jar|Implementation-Title: Gradle\r\n":                             "org.gradle:gradle-core@4.4.1",
		"catalina.jar|Bundle-SymbolicName: org.apache.tomcat-catalina\r\n":                   "org.apache.tomcat:tomcat-catalina@",
		"tomcat-embed-core-10.1.1.jar|Bundle-SymbolicName: org.apache.tomcat-embed-core\r\n": "org.apache.tomcat.embed:tomcat-embed-core@10.1.1",
	} {
		name, text, _ := strings.Cut(file, "|")
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create("META-INF/MANIFEST.MF")
		if err == nil {
			_, err = io.WriteString(w, "Manifest-Version: 1.0\r\n"+text+"\r\n")
		}
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		r := extracttest.Run(t, New(), "opt/"+name, b.Bytes())
		if d := cmp.Diff([]string{want}, lines(r)); d != "" || r.Err != nil {
			t.Error(file, d, r.Err)
		}
	}
}

func TestBundleLicense(t *testing.T) {
	for text, want := range map[string][]string{
		"Apache-2.0": {"Apache-2.0"},
		`Apache-2.0;description="Apache License, Version 2.0";link="https://x/a",EPL-2.0;link="https://x/e"`: {"Apache-2.0", "EPL-2.0"},
		"https://www.apache.org/licenses/LICENSE-2.0.txt":                                                    {"https://www.apache.org/licenses/LICENSE-2.0.txt"},
		`"Apache 2, or later";x=y`: {"Apache 2, or later"},
		"<<EXTERNAL>>":             nil,
		"":                         nil,
		`MIT;a="unclosed,EPL`:      {"MIT"},
	} {
		var m manifest
		m.value[bundleLicense] = text
		if d := cmp.Diff(want, m.licenses()); d != "" {
			t.Error(text, d)
		}
	}
}

func TestIdentity(t *testing.T) {
	cases := []struct {
		name, file string
		members    []member
		want       []string
	}{
		{"descriptor, name with version", "lib-1.0.jar",
			[]member{manifestOf("Implementation-Version: 9"), properties("org.x", "lib", "1.0")}, []string{"org.x:lib@1.0"}},
		{"no manifest", "lib.jar", []member{properties("org.x", "lib", "1.0")}, []string{"org.x:lib@1.0"}},
		{"shaded: the name says which is main", "app-2.0.jar",
			[]member{manifestOf(), properties("a.a", "dep", "3.1"), properties("org.x", "app", "2.0"), properties("z.z", "app-core", "2.0")},
			[]string{"org.x:app@2.0", "a.a:dep@3.1", "z.z:app-core@2.0"}},
		{"shaded: none is main", "bundle-2.0.jar",
			[]member{manifestOf(), properties("a.a", "dep", "3.1"), properties("b.b", "dep2", "2.0")},
			[]string{"bundle:bundle@2.0", "a.a:dep@3.1", "b.b:dep2@2.0"}},
		{"one descriptor of another name", "maven3-core.jar",
			[]member{manifestOf("Implementation-Version: 3.8.7"), properties("org.apache.maven", "maven-core", "3.8.7")},
			[]string{"org.apache.maven:maven-core@3.8.7"}},
		{"one descriptor, whose version the bundle's three numbers repeat", "jansi1.jar",
			[]member{manifestOf("Bundle-Version: 1.18.0"), properties("org.fusesource.jansi", "jansi", "1.18")},
			[]string{"org.fusesource.jansi:jansi@1.18"}},
		{"one descriptor, whose version the bundle's qualifies", "probe.jar",
			[]member{manifestOf("Bundle-Version: 5.0.1.2021"), properties("biz.aQute.bnd", "launchpad.probe", "5.0.1")},
			[]string{"biz.aQute.bnd:launchpad.probe@5.0.1"}},
		{"one descriptor of another version that only begins the same", "app.jar",
			[]member{manifestOf("Bundle-Version: 1.20.0"), properties("a.a", "dep", "1.2")},
			[]string{"app:app@1.20.0", "a.a:dep@1.2"}},
		{"one descriptor of another name and version is shaded", "app-7.0.jar",
			[]member{manifestOf(), properties("a.a", "dep", "3.1")}, []string{"app:app@7.0", "a.a:dep@3.1"}},
		{"same artifact id, two groups", "jaxb-core-4.0.jar",
			[]member{manifestOf(), properties("com.sun", "jaxb-core", "4.0"), properties("org.glassfish", "jaxb-core", "4.0"),
				pomXML("org.glassfish", "jaxb-core", "")},
			[]string{"org.glassfish:jaxb-core@4.0", "com.sun:jaxb-core@4.0"}},
		{"classifier", "netty-4.1.2.Final-linux-x86_64.jar",
			[]member{manifestOf(), properties("io.netty", "netty", "4.1.2.Final"), properties("a.a", "b", "1")},
			[]string{"io.netty:netty@4.1.2.Final", "a.a:b@1"}},
		{"pom.xml alone, version from its parent", "lib.jar",
			[]member{manifestOf(), pomXML("g", "lib", `<parent><groupId>org.p</groupId><version>5</version></parent><artifactId>lib</artifactId>`)},
			[]string{"org.p:lib@5"}},
		{"pom.xml with placeholders", "lib.jar",
			[]member{manifestOf("Implementation-Version: 1.2"), pomXML("g", "lib",
				`<groupId>org.x</groupId><artifactId>lib</artifactId><version>${major}.${x.y}</version>
				<properties><major>3</major><x.y>${nothing}</x.y></properties>`)},
			[]string{"org.x:lib@1.2"}},
		{"name only", "some-tool-1.4-beta.jar", []member{{"A.class", "x", true}}, []string{"some-tool:some-tool@1.4-beta"}},
		{"nothing", "some-tool.jar", []member{{"A.class", "x", true}}, nil},
		{"manifest version, main section", "tool.jar",
			[]member{manifestOf("Bundle-Version: 3", "Specification-Version: 2", "", "Name: a/", "Implementation-Version: 7")},
			[]string{"tool:tool@7"}},
		{"manifest continuation lines", "tool.jar",
			[]member{manifestOf("Implementation-Vendor-Id: org.exam", " ple", "Implementation-Version: 1.", " 2", " .3")},
			[]string{"org.example:tool@1.2.3"}},
		{"OSGi bundle", "org.apache.felix.framework_7.0.5.jar",
			[]member{manifestOf("Bundle-SymbolicName: org.apache.felix.framework;singleton:=true", "Bundle-Version: 7.0.5")},
			[]string{"org.apache.felix:org.apache.felix.framework@7.0.5"}},
		{"OSGi bundle named by maven-bundle-plugin", "maven-core-3.9.jar",
			[]member{manifestOf("Bundle-SymbolicName: org.apache.maven.core")}, []string{"org.apache.maven:maven-core@3.9"}},
		{"well-known", "spring-security-web-6.1.0.jar",
			[]member{manifestOf("Implementation-Title: spring-security-web")},
			[]string{"org.springframework.security:spring-security-web@6.1.0"}},
		{"New Relic's instrumentation", "tomcat-7.0.jar", []member{manifestOf("Weave-Classes: x")}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := extracttest.Run(t, New(), "app/"+c.file, []byte(jar(c.members...)))
			if d := cmp.Diff(c.want, lines(r)); d != "" || r.Err != nil || r.Reasons != nil {
				t.Error(d, r.Err, r.Reasons)
			}
		})
	}
}

func TestLicensesAndSupplier(t *testing.T) {
	data := jar(
		manifestOf("Bundle-License: \"Apache-2.0\";link=\"https://x\"", "Implementation-Vendor: Ex, Inc."),
		properties("org.x", "lib", "1.0"), pomXML("org.x", "lib", "<licenses><license><name>ignored</name></license></licenses>"),
		properties("a.a", "dep", "2"), pomXML("a.a", "dep", `
			<!-- <licenses><license><name>comment</name></license></licenses> -->
			<dependencies><dependency><licenses><license><name>not this</name></license></licenses></dependency></dependencies>
			<licenses><license><name>A &amp; B &#x4c;icense</name></license><license><url>u</url><name><![CDATA[C <1>]]></name></license></licenses>`))
	r := extracttest.Run(t, New(), "lib.jar", []byte(data))
	want := []inventory.Package{
		{Type: "maven", Namespace: "org.x", Name: "lib", Version: "1.0", Licenses: []string{"Apache-2.0"}, Supplier: "Ex, Inc.",
			Provides: []string{"maven:/lib.jar"}, Requires: []inventory.Requirement{{"maven:/lib.jar#META-INF/maven/a.a/dep/"}}},
		{Type: "maven", Namespace: "a.a", Name: "dep", Version: "2", Licenses: []string{"A & B License", "C <1>"},
			Provides: []string{"maven:/lib.jar#META-INF/maven/a.a/dep/"}},
	}
	if d := cmp.Diff(want, r.Packages); d != "" {
		t.Error(d)
	}
}

func TestNested(t *testing.T) {
	lib := jar(manifestOf(), properties("org.l", "lib", "1"))
	war := jar(manifestOf(), member{"WEB-INF/lib/lib-1.jar", lib, true}, member{"WEB-INF/lib/notes.txt", "x", false})
	ear := "#!/bin/sh\nexec java -jar $0\n" + jar(manifestOf(), member{"web-2.war", war, false}, member{"lib/lib-1.jar", lib, false},
		member{"empty.jar", "", false}, member{"x.rar", "Rar!\x1a\x07\x00 is not a resource adapter", false},
		member{"broken.jar", strings.Repeat("broken", 10), true})
	r := extracttest.Run(t, New(), "opt/app-3.ear", []byte(ear))
	want := []string{"app:app@3", "web:web@2 (web-2.war)", "org.l:lib@1 (web-2.war!/WEB-INF/lib/lib-1.jar)", "org.l:lib@1 (lib/lib-1.jar)"}
	if d := cmp.Diff(want, lines(r)); d != "" {
		t.Error(d)
	}
	if len(r.Reasons) != 1 || !strings.HasPrefix(r.Reasons[0], "broken.jar: not a zip archive") {
		t.Error(r.Reasons)
	}
	// Dependencies go from an archive to those directly in it.
	if got := r.Packages[0].Requires[0][0]; got != r.Packages[1].Provides[0] || got != "maven:/opt/app-3.ear!/web-2.war" {
		t.Error(got)
	}
	if got := r.Packages[1].Requires[0][0]; got != r.Packages[2].Provides[0] {
		t.Error(got)
	}
}

func TestTooDeep(t *testing.T) {
	data := jar(manifestOf())
	for i := range 12 {
		data = jar(manifestOf(), member{fmt.Sprintf("level%d-1.jar", i), data, i%2 == 0})
	}
	r := extracttest.Run(t, New(), "top-1.jar", []byte(data))
	if len(r.Packages) != maxDepth+1 || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "more than 8 deep") {
		t.Error(len(r.Packages), r.Reasons)
	}
}

// A member that says it inflates to more than it may is not inflated, one that inflates to more than it says is cut.
func TestBomb(t *testing.T) {
	for _, size := range []uint32{1 << 30, 100} {
		data := []byte(jar(manifestOf(), properties("org.l", "app", "1"), member{"lib-1.jar", strings.Repeat("\x00", 1<<20), true}))
		at := bytes.LastIndex(data, []byte("lib-1.jar")) - 46 + 24 // its size in the directory
		binary.LittleEndian.PutUint32(data[at:], size)
		r := extracttest.Run(t, New(), "app-1.jar", data)
		if len(r.Packages) != 1 || len(r.Reasons) != 1 || r.Err != nil {
			t.Error(size, lines(r), r.Reasons, r.Err)
		}
	}
}

func TestHostile(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	cases := map[string]struct {
		members []member
		reason  string
	}{
		"manifest without end": {[]member{{"META-INF/MANIFEST.MF", "A: " + big, true}}, "main section"},
		"two manifests":        {[]member{manifestOf("A: 1"), manifestOf("A: 2")}, "several different manifests"},
		"long properties":      {[]member{{"META-INF/maven/g/a/pom.properties", "groupId=g\nartifactId=a\nversion=1\n#" + big, true}}, "pom.properties: only"},
		"long pom.xml":         {[]member{pomXML("g", "a", "<artifactId>a</artifactId>"+big)}, "pom.xml: only"},
		"long name":            {[]member{{strings.Repeat("d/", 4000) + "a.jar", "x", false}}, "left out"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := extracttest.Run(t, New(), "app-1.jar", []byte(jar(c.members...)))
			if r.Err != nil || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], c.reason) {
				t.Error(r.Err, r.Reasons)
			}
		})
	}
}

func TestManyDescriptors(t *testing.T) {
	var ms []member
	for i := range 3000 {
		ms = append(ms, properties("g", fmt.Sprint("a", i), "1"))
	}
	r := extracttest.Run(t, New(), "app-1.jar", []byte(jar(ms...)))
	if len(r.Packages) < 1000 || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "more Maven descriptors") {
		t.Error(len(r.Packages), r.Reasons[:min(2, len(r.Reasons))])
	}
}

func TestTruncated(t *testing.T) {
	data, err := os.ReadFile("testdata/slf4j-nop.jar")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(data); n += 3 {
		if r := extracttest.Run(t, New(), "a.jar", data[:n]); r.Err == nil {
			t.Fatalf("%d of %d bytes: no error", n, len(data))
		}
	}
}

func TestSplitName(t *testing.T) {
	for file, want := range map[string]string{
		"some-package-4.0.1.jar": "some-package|4.0.1", "my-http2-server-5.jar": "my-http2-server|5", "ironman-r4-2009.jar": "ironman|r4-2009",
		"jetpack-build235-rc5.jar": "jetpack|build235-rc5", "a-rc1.jar": "a|rc1", "a-rcx.jar": "a-rcx|", "org.x_1.2.v9.jar": "org.x|1.2.v9",
		"lib.1.2.3.jar": "lib|1.2.3", "commons.lang3.jar": "commons.lang3|", "log4j1.2.jar": "log4j1.2|", "1.0.jar": "|", "a-.jar": "a-|", "a.jar": "a|", "jar": "jar|",
		"guava-31.1-jre.jar": "guava|31.1-jre", "x-R2.jar": "x|R2", "x-r2d2.jar": "x-r2d2|",
	} {
		if f := splitName(file); f.name+"|"+f.version != want {
			t.Errorf("%s: %s|%s, want %s", file, f.name, f.version, want)
		}
	}
}

func FuzzJava(f *testing.F) {
	for _, name := range []string{"slf4j-nop.jar", "error-prone-type-annotations.jar"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(jar(manifestOf("Bundle-Version: 1"), member{"b.jar", jar(manifestOf()), true}, member{"c.jar", jar(manifestOf()), false})))
	f.Fuzz(func(t *testing.T, data []byte) { extracttest.Fuzz(t, New(), "a/lib-1.jar", 0o644, data) })
}

// The text parsers, past the checksums that keep a fuzzer out of archives.
func FuzzText(f *testing.F) {
	f.Add([]byte("<project><parent><version>1</version></parent><version>${a}</version><properties><a>${b}</a></properties></project>"))
	f.Add([]byte("groupId=a\nversion:1\r\n"))
	f.Add([]byte("Bundle-Version: 1\r\n 2\r\n\r\nName: x\nImplementation-Version: 2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, p := parsePOM(b), parseProperties(b)
		var m manifest
		m.parse(b)
		for _, s := range []string{v.group, v.version, v.artifact, p.group, p.artifact, p.version, m.version()} {
			if inventory.Clean(s) != s && len(s) < inventory.MaxField || strings.Contains(s, "${") {
				t.Errorf("%q is not clean", s)
			}
		}
		splitName(path.Base(string(b)))
	})
}
