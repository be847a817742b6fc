#!/bin/sh
# Says in one line what this machine lacks; the rest of the set-up needs nothing but Python, Java and make.
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "dxr-ingest needs Python 3.11 or newer: '$PYTHON' is missing or older; install it or call make PYTHON=python3.12" >&2
  exit 3
}
java=java
[ -n "$JAVA_HOME" ] && java="$JAVA_HOME/bin/java"
major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
[ "${major:-0}" -ge 17 ] || {
  echo "dxr-ingest needs Java 17 or newer for Spark: found ${major:-none}; install a JDK 17 (Debian: openjdk-17-jre-headless) or set JAVA_HOME" >&2
  exit 3
}
