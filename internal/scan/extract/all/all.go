// Package all is the list of the extractors that Stella ships.
//
// The order decides: a file goes to the first that wants it. Formats that are
// recognised by a name come before the one that is recognised by a mode bit, so that an
// executable script called package.json is a package.json.
package all

import (
	"stella/internal/scan/extract"
	"stella/internal/scan/extract/apk"
	"stella/internal/scan/extract/composer"
	"stella/internal/scan/extract/dotnet"
	"stella/internal/scan/extract/dpkg"
	"stella/internal/scan/extract/executable"
	"stella/internal/scan/extract/gem"
	"stella/internal/scan/extract/java"
	"stella/internal/scan/extract/npm"
	"stella/internal/scan/extract/osrelease"
	"stella/internal/scan/extract/pacman"
	"stella/internal/scan/extract/python"
	"stella/internal/scan/extract/rpm"
)

// Extractors returns a new list of all extractors, in order.
func Extractors() []extract.Extractor {
	return []extract.Extractor{
		osrelease.New(),
		dpkg.New(),
		apk.New(),
		rpm.New(),
		pacman.New(),
		npm.New(),
		python.New(),
		gem.New(),
		composer.New(),
		dotnet.New(),
		java.New(),
		executable.New(),
	}
}
