package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"stella/bench/images"
	"stella/bench/ociwrite"
)

const osRelease = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n"

// extractors is where the real samples are: each with its origin in its own testdata.
const extractors = "../../internal/scan/extract/"

func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(path.Join(extractors, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if b, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return b
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// war puts jars into a web archive, which is not compressed so that it is the same bytes with every Go.
func war(t *testing.T, manifest string, jars ...string) []byte {
	t.Helper()
	members := map[string][]byte{"META-INF/MANIFEST.MF": []byte("Manifest-Version: 1.0\r\n" + manifest + "\r\n")}
	for _, j := range jars {
		members["WEB-INF/lib/"+j] = sample(t, "java/testdata/"+j)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(members)) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(members[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// everyFormat is an image with a sample of each format, by path.
func everyFormat(t *testing.T) map[string][]byte {
	files := map[string][]byte{
		"etc/os-release":                    []byte(osRelease),
		"var/lib/dpkg/status":               sample(t, "dpkg/testdata/status"),
		"var/lib/dpkg/status.d/base":        []byte("Package: base-files\nVersion: 12.4+deb12u5\nArchitecture: amd64\nMaintainer: Santiago Vila <sanvila@debian.org>\n\n"),
		"lib/apk/db/installed":              sample(t, "apk/testdata/installed"),
		"usr/lib/sysimage/rpm/rpmdb.sqlite": unzipped(t, sample(t, "rpm/testdata/rpmdb.sqlite.gz")),
		"var/lib/rpm/Packages":              unzipped(t, sample(t, "rpm/testdata/Packages.gz")),

		"usr/bin/tool": goProgram(t, "go1.22.5", "path\texample.com/tool\nmod\texample.com/tool\tv1.2.3\t\n"+
			"dep\tgithub.com/BurntSushi/toml\tv1.3.2\th1:o7IhLm0Msx3BaB+n3Ag7L8EVlByGnpq14C4YWiu/gL8=\n"+
			"dep\tgolang.org/x/sys\tv0.21.0\th1:rF+pYz3DAGSQAxAu1CbC7catZg4ebC4UIeIhKxBZvws=\nbuild\tGOARCH=amd64\nbuild\tGOOS=linux"),
		"usr/bin/rusty": rustProgram(t, `{"packages":[{"name":"adler","version":"1.0.2","source":"registry"},`+
			`{"name":"cc","version":"1.0.99","source":"registry","kind":"build"},`+
			`{"name":"rusty","version":"0.3.0","source":"local","dependencies":[0,1],"root":true}]}`),

		"opt/site.war": war(t, "Implementation-Title: site\r\nImplementation-Version: 4.2\r\n", "slf4j-nop.jar", "guice-spring.jar"),

		"usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO":    sample(t, "python/testdata/requests.PKG-INFO"),
		"usr/lib/python3/dist-packages/jsonschema-4.10.3.dist-info/METADATA": sample(t, "python/testdata/jsonschema.METADATA"),
		"usr/lib/python3/dist-packages/hatchling-1.12.2.dist-info/METADATA":  sample(t, "python/testdata/hatchling.METADATA"),
		"usr/lib/python3/dist-packages/PyYAML-6.0.egg-info":                  sample(t, "python/testdata/pyyaml.METADATA"),
		"srv/flask/requirements.txt":                                         []byte("Flask==2.2.2\nzope.interface==5.5.2 ; python_version >= \"3\"\nclick>=8\n"),
		"srv/poetry/poetry.lock": []byte("[[package]]\nname = \"attrs\"\nversion = \"22.2.0\"\ndescription = \"\"\noptional = false\n" +
			"python-versions = \">=3.6\"\n\n[metadata]\nlock-version = \"2.0\"\npython-versions = \"^3.9\"\ncontent-hash = \"0\"\n"),

		"usr/share/rubygems-integration/all/specifications/rack-2.2.22.gemspec": sample(t, "gem/testdata/rack-2.2.22.gemspec"),
		"var/lib/gems/3.1.0/specifications/addressable-2.8.1.gemspec":           sample(t, "gem/testdata/addressable-2.8.1.gemspec"),
		"var/lib/gems/3.1.0/specifications/default/irb-1.4.1.gemspec":           sample(t, "gem/testdata/irb-1.4.1.gemspec"),
		"var/lib/gems/3.1.0/specifications/nokogiri-1.13.10.gemspec":            sample(t, "gem/testdata/nokogiri-1.13.10.gemspec"),
		"srv/rails/Gemfile.lock": sample(t, "gem/testdata/Gemfile.lock"),

		"srv/wiki/vendor/composer/installed.json": []byte(`{"packages":[{"name":"psr/container","version":"2.0.2","type":"library","license":["MIT"]}],"dev":false,"dev-package-names":[]}`),
		"srv/wiki/composer.lock":                  []byte(`{"packages":[{"name":"psr/container","version":"2.0.2","type":"library","license":["MIT"]}],"packages-dev":[{"name":"psr/clock","version":"1.0.0"}]}`),
		"srv/php/vendor/composer/installed.json":  sample(t, "composer/testdata/installed-2.json"),
		"srv/php/composer.lock":                   sample(t, "composer/testdata/composer.lock"),
		"srv/shop/shop.deps.json":                 sample(t, "dotnet/testdata/shop.deps.json"),
	}
	for _, j := range []string{"error-prone-type-annotations", "geronimo-interceptor-3.0-spec", "guice-spring", "slf4j-nop"} {
		files["usr/share/java/"+j+".jar"] = sample(t, "java/testdata/"+j+".jar")
	}
	for _, v := range []string{"1", "2", "3"} {
		files["srv/lock"+v+"/package-lock.json"] = sample(t, "npm/testdata/package-lock-"+v+".json")
	}
	for dir, file := range map[string]string{"yarn1": "yarn-1.lock", "berry": "yarn-berry.lock"} {
		files["srv/"+dir+"/yarn.lock"] = sample(t, "npm/testdata/"+file)
	}
	for _, v := range []string{"5", "6", "9"} {
		files["srv/pnpm"+v+"/pnpm-lock.yaml"] = sample(t, "npm/testdata/pnpm-lock-"+v+".yaml")
	}
	for _, file := range strings.Split(string(sample(t, "npm/testdata/installed.txt")), "== ") {
		if name, text, ok := strings.Cut(file, "\n"); ok {
			files["srv/node/"+name] = []byte(text)
		}
	}
	return files
}

// arch is an image with pacman's database, for itself: syft gives its packages a URL only where os-release says arch.
func arch(t *testing.T) map[string][]byte {
	files := map[string][]byte{"etc/os-release": []byte("NAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\n")}
	for _, name := range []string{"lantern", "liblantern"} {
		dir := "var/lib/pacman/local/" + name + "-1:2.5-4/"
		files[dir+"desc"] = sample(t, "pacman/testdata/"+name+".desc")
		// As pacman writes them beside desc.
		files[dir+"files"] = []byte("%FILES%\nusr/\n")
		files[dir+"mtree"] = zipped(t, "#mtree\n/set type=file uid=0 gid=0 mode=644\n./usr time=1.0 mode=755 type=dir\n")
	}
	return files
}

// layoutOf writes files as an image of one layer.
func layoutOf(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	w, err := ociwrite.New(dir, ociwrite.None)
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.Layer()
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{".": true}
	var mkdir func(string)
	mkdir = func(d string) {
		if made[d] {
			return
		}
		mkdir(path.Dir(d))
		made[d] = true
		if err := l.Entry(tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		mkdir(path.Dir(name))
		h := tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}
		if strings.HasPrefix(name, "usr/bin/") {
			h.Mode = 0o755
		}
		if err := l.Entry(h, bytes.NewReader(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(images.Tag); err != nil {
		t.Fatal(err)
	}
}
