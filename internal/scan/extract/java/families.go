package java

import "strings"

// families are artifacts of Maven Central whose builds, mostly Gradle ones, leave no
// descriptor, and whose group id is not to be guessed from their manifest.
// An entry ending in a dash stands for all artifacts that begin so; the longest one counts.
var families = map[string]string{
	"ant":                          "org.apache.ant",
	"ant-":                         "org.apache.ant",
	"antlr4-runtime":               "org.antlr",
	"aspectjrt":                    "org.aspectj",
	"aspectjweaver":                "org.aspectj",
	"bcpg-":                        "org.bouncycastle",
	"bcpkix-":                      "org.bouncycastle",
	"bcprov-":                      "org.bouncycastle",
	"bctls-":                       "org.bouncycastle",
	"bcutil-":                      "org.bouncycastle",
	"ecj":                          "org.eclipse.jdt",
	"elasticsearch":                "org.elasticsearch",
	"elasticsearch-":               "org.elasticsearch",
	"groovy":                       "org.apache.groovy",
	"groovy-":                      "org.apache.groovy",
	"hibernate-commons-":           "org.hibernate.common",
	"hibernate-core":               "org.hibernate.orm",
	"hibernate-entitymanager":      "org.hibernate",
	"jersey-":                      "org.glassfish.jersey.core",
	"junit-jupiter-":               "org.junit.jupiter",
	"junit-platform-":              "org.junit.platform",
	"junit-vintage-":               "org.junit.vintage",
	"kafka-clients":                "org.apache.kafka",
	"kafka-streams":                "org.apache.kafka",
	"kotlin-":                      "org.jetbrains.kotlin",
	"kotlinx-":                     "org.jetbrains.kotlinx",
	"lucene-":                      "org.apache.lucene",
	"micrometer-":                  "io.micrometer",
	"mockito-":                     "org.mockito",
	"okhttp":                       "com.squareup.okhttp3",
	"okhttp-":                      "com.squareup.okhttp3",
	"okio":                         "com.squareup.okio",
	"okio-":                        "com.squareup.okio",
	"opentelemetry-":               "io.opentelemetry",
	"postgresql":                   "org.postgresql",
	"reactor-core":                 "io.projectreactor",
	"reactor-netty-":               "io.projectreactor.netty",
	"retrofit":                     "com.squareup.retrofit2",
	"rxjava":                       "io.reactivex.rxjava3",
	"scala-compiler":               "org.scala-lang",
	"scala-library":                "org.scala-lang",
	"scala-reflect":                "org.scala-lang",
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
	"testng":                       "org.testng",
	"xercesImpl":                   "xerces",
}

// knownGroup returns the group id of a well-known artifact, or nothing.
func knownGroup(name string) string {
	if g, ok := families[name]; ok {
		return g
	}
	for i := len(name); i > 0; i = strings.LastIndexByte(name[:i], '-') {
		if i < len(name) {
			if g, ok := families[name[:i+1]]; ok {
				return g
			}
		}
	}
	return ""
}
