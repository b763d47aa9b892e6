package java

import "strings"

// families are artifacts of Maven Central whose builds, mostly Gradle ones, leave no
// descriptor, and whose group id is not to be guessed from their manifest.
// An entry ending in a dash or an underscore stands for all artifacts that begin so; the longest one counts.
// Checked against the Maven repository that Debian's packages of these artifacts install.
var families = map[string]string{
	"ant":                          "org.apache.ant",
	"ant-":                         "org.apache.ant",
	"antlr4-runtime":               "org.antlr",
	"asm":                          "org.ow2.asm",
	"asm-":                         "org.ow2.asm",
	"aspectjrt":                    "org.aspectj",
	"aspectjweaver":                "org.aspectj",
	"batik-":                       "org.apache.xmlgraphics",
	"bcpg-":                        "org.bouncycastle",
	"bcpkix-":                      "org.bouncycastle",
	"bcprov-":                      "org.bouncycastle",
	"bctls-":                       "org.bouncycastle",
	"bcutil-":                      "org.bouncycastle",
	"bsh":                          "org.beanshell",
	"c3p0":                         "com.mchange",
	"commons-beanutils":            "commons-beanutils",
	"commons-cli":                  "commons-cli",
	"commons-codec":                "commons-codec",
	"commons-collections":          "commons-collections",
	"commons-daemon":               "commons-daemon",
	"commons-dbcp":                 "commons-dbcp",
	"commons-digester":             "commons-digester",
	"commons-discovery":            "commons-discovery",
	"commons-el":                   "commons-el",
	"commons-fileupload":           "commons-fileupload",
	"commons-httpclient":           "commons-httpclient",
	"commons-io":                   "commons-io",
	"commons-jexl":                 "commons-jexl",
	"commons-jxpath":               "commons-jxpath",
	"commons-lang":                 "commons-lang",
	"commons-logging":              "commons-logging",
	"commons-logging-":             "commons-logging",
	"commons-net":                  "commons-net",
	"commons-pool":                 "commons-pool",
	"commons-validator":            "commons-validator",
	"derby":                        "org.apache.derby",
	"derbyLocale_":                 "org.apache.derby",
	"derbyclient":                  "org.apache.derby",
	"derbynet":                     "org.apache.derby",
	"derbyoptionaltools":           "org.apache.derby",
	"derbyrun":                     "org.apache.derby",
	"derbytools":                   "org.apache.derby",
	"dom4j":                        "org.dom4j",
	"ecj":                          "org.eclipse.jdt",
	"elasticsearch":                "org.elasticsearch",
	"elasticsearch-":               "org.elasticsearch",
	"findbugs":                     "com.google.code.findbugs",
	"groovy":                       "org.apache.groovy",
	"groovy-":                      "org.apache.groovy",
	"guice-assistedinject":         "com.google.inject.extensions",
	"guice-grapher":                "com.google.inject.extensions",
	"guice-jmx":                    "com.google.inject.extensions",
	"guice-jndi":                   "com.google.inject.extensions",
	"guice-multibindings":          "com.google.inject.extensions",
	"guice-persist":                "com.google.inject.extensions",
	"guice-servlet":                "com.google.inject.extensions",
	"guice-spring":                 "com.google.inject.extensions",
	"guice-struts2":                "com.google.inject.extensions",
	"guice-throwingproviders":      "com.google.inject.extensions",
	"hamcrest":                     "org.hamcrest",
	"hamcrest-":                    "org.hamcrest",
	"hibernate-commons-":           "org.hibernate.common",
	"hibernate-core":               "org.hibernate.orm",
	"hibernate-entitymanager":      "org.hibernate",
	"jFormatString":                "com.google.code.findbugs",
	"jarjar":                       "com.googlecode.jarjar",
	"jaxp-api":                     "javax.xml",
	"jcip-annotations":             "net.jcip",
	"jcommander":                   "com.beust",
	"jersey-":                      "org.glassfish.jersey.core",
	"jffi":                         "com.github.jnr",
	"jna":                          "net.java.dev.jna",
	"jna-platform":                 "net.java.dev.jna",
	"jsch":                         "com.jcraft",
	"jsr305":                       "com.google.code.findbugs",
	"junit":                        "junit",
	"junit-jupiter-":               "org.junit.jupiter",
	"junit-platform-":              "org.junit.platform",
	"junit-vintage-":               "org.junit.vintage",
	"jzlib":                        "com.jcraft",
	"kafka-clients":                "org.apache.kafka",
	"kafka-streams":                "org.apache.kafka",
	"kotlin-":                      "org.jetbrains.kotlin",
	"kotlinx-":                     "org.jetbrains.kotlinx",
	"kryo":                         "com.esotericsoftware",
	"lucene-":                      "org.apache.lucene",
	"micrometer-":                  "io.micrometer",
	"mockito-":                     "org.mockito",
	"native-platform":              "net.rubygrapefruit",
	"nekohtml":                     "net.sourceforge.nekohtml",
	"okhttp":                       "com.squareup.okhttp3",
	"okhttp-":                      "com.squareup.okhttp3",
	"okio":                         "com.squareup.okio",
	"okio-":                        "com.squareup.okio",
	"opentelemetry-":               "io.opentelemetry",
	"osgi.annotation":              "org.osgi",
	"osgi.cmpn":                    "org.osgi",
	"osgi.core":                    "org.osgi",
	"postgresql":                   "org.postgresql",
	"reactor-core":                 "io.projectreactor",
	"reactor-netty-":               "io.projectreactor.netty",
	"retrofit":                     "com.squareup.retrofit2",
	"rxjava":                       "io.reactivex.rxjava3",
	"scala-actors":                 "org.scala-lang",
	"scala-collection-compat_":     "org.scala-lang.modules",
	"scala-compiler":               "org.scala-lang",
	"scala-java8-compat_":          "org.scala-lang.modules",
	"scala-library":                "org.scala-lang",
	"scala-parser-combinators_":    "org.scala-lang.modules",
	"scala-reflect":                "org.scala-lang",
	"scala-swing_":                 "org.scala-lang.modules",
	"scala-xml_":                   "org.scala-lang.modules",
	"solr-":                        "org.apache.solr",
	"spring-":                      "org.springframework",
	"spring-amqp":                  "org.springframework.amqp",
	"spring-batch-":                "org.springframework.batch",
	"spring-boot":                  "org.springframework.boot",
	"spring-boot-":                 "org.springframework.boot",
	"spring-cloud-":                "org.springframework.cloud",
	"spring-data-":                 "org.springframework.data",
	"spring-hateoas":               "org.springframework.hateoas",
	"spring-integration-":          "org.springframework.integration",
	"spring-kafka":                 "org.springframework.kafka",
	"spring-ldap-":                 "org.springframework.ldap",
	"spring-plugin-":               "org.springframework.plugin",
	"spring-rabbit":                "org.springframework.amqp",
	"spring-retry":                 "org.springframework.retry",
	"spring-security-":             "org.springframework.security",
	"spring-security-oauth2-auto-": "org.springframework.security.oauth.boot",
	"spring-session-":              "org.springframework.session",
	"spring-ws-":                   "org.springframework.ws",
	"tomcat-":                      "org.apache.tomcat",
	"tomcat-embed-":                "org.apache.tomcat.embed",
	"testng":                       "org.testng",
	"xercesImpl":                   "xerces",
	"xml-apis":                     "xml-apis",
	"xml-apis-ext":                 "xml-apis",
	"xml-resolver":                 "xml-resolver",
	"xpp3":                         "xpp3",
	"xpp3_min":                     "xpp3",
	"xpp3_xpath":                   "xpp3",
	"xz":                           "org.tukaani",
}

// moved are artifacts that had another group id below a version.
var moved = [...]struct{ family, below, group string }{
	{"asm", "4", "asm"},
	{"c3p0", "0.9.2", "c3p0"},
	{"dom4j", "2", "dom4j"},
	{"groovy", "4", "org.codehaus.groovy"},
	{"kryo", "3", "com.esotericsoftware.kryo"},
}

// knownGroup returns the group id of a well-known artifact, or nothing.
func knownGroup(name, version string) string {
	for _, m := range moved {
		if rest, ok := strings.CutPrefix(name, m.family); ok && (rest == "" || rest[0] == '-') && version != "" && below(version, m.below) {
			return m.group
		}
	}
	if g, ok := families[name]; ok {
		return g
	}
	for i := len(name); i > 0; i = strings.LastIndexAny(name[:i], "-_") {
		if i < len(name) {
			if g, ok := families[name[:i+1]]; ok {
				return g
			}
		}
	}
	return ""
}

// below compares the numbers that two versions begin with.
func below(version, limit string) bool {
	for limit != "" {
		var a, b string
		a, version = cutNumber(version)
		b, limit = cutNumber(limit)
		if len(a) != len(b) {
			return len(a) < len(b)
		}
		if a != b {
			return a < b
		}
	}
	return false
}

// cutNumber cuts the digits before a dot, without leading zeros.
func cutNumber(s string) (number, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	number = strings.TrimLeft(s[:i], "0")
	if i < len(s) && s[i] == '.' {
		return number, s[i+1:]
	}
	return number, ""
}
