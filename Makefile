# Installs the C and C++ interface: make && make install PREFIX=/usr/local DESTDIR=
# Everything else is done by cargo: see CONTRIBUTING.md.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DOCDIR ?= $(PREFIX)/share/doc/$(NAME)
CARGO ?= cargo
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Where cargo leaves the libraries.
BUILT ?= $(or $(CARGO_TARGET_DIR),target)/dist
NAME := futoin_eventstream
LIB := $(DESTDIR)$(LIBDIR)
DOC := $(DESTDIR)$(DOCDIR)
# Files find each other by where they are, so that an installation may be moved; but what is in /usr stays there, and
# only under that name pkg-config knows /usr/include as the compiler's own.
from = $(shell realpath -ms --relative-to=$(1) $(2))
PC_PREFIX := $(if $(filter /usr,$(PREFIX)),/usr,$${pcfiledir}/$(call from,$(LIBDIR)/pkgconfig,$(PREFIX)))
FILL := sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@PREFIX@|$(PC_PREFIX)|g' \
	-e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|g' \
	-e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|g' \
	-e 's|@INCLUDEDIR_FROM_HERE@|$(call from,$(LIBDIR)/cmake/$(NAME),$(INCLUDEDIR))|g'

# The most bytes that the shared library may have: three drivers, TLS, SQLite, doctor and verify.
LIMIT := 8400000

.PHONY: all size install uninstall

all:
	$(CARGO) rustc --profile dist --lib --features capi --crate-type cdylib,staticlib
	@$(MAKE) --no-print-directory size

size:
	@bytes=$$(wc -c < $(BUILT)/lib$(NAME).so); echo "lib$(NAME).so has $$bytes bytes, of $(LIMIT) at most"; \
	test $$bytes -le $(LIMIT)

install:
	@test -e $(BUILT)/lib$(NAME).so || { echo "run make first"; exit 1; }
	$(INSTALL) -d $(LIB)/pkgconfig $(LIB)/cmake/$(NAME) $(DESTDIR)$(INCLUDEDIR)/$(NAME) $(DOC)/docs
	$(INSTALL) -m 644 include/$(NAME).h include/$(NAME)_ffi.h include/$(NAME).hpp $(DESTDIR)$(INCLUDEDIR)
	$(INSTALL) -m 644 include/$(NAME)/*.hpp $(DESTDIR)$(INCLUDEDIR)/$(NAME)
	$(INSTALL) -m 755 $(BUILT)/lib$(NAME).so $(LIB)/lib$(NAME).so.$(VERSION)
	ln -sf lib$(NAME).so.$(VERSION) $(LIB)/lib$(NAME).so.0
	ln -sf lib$(NAME).so.0 $(LIB)/lib$(NAME).so
	packaging/localize $(BUILT)/lib$(NAME).a $(LIB)/lib$(NAME).a include/symbols.txt
	chmod 644 $(LIB)/lib$(NAME).a
	$(FILL) packaging/$(NAME).pc.in > $(LIB)/pkgconfig/$(NAME).pc
	$(FILL) packaging/$(NAME)-shared.pc.in > $(LIB)/pkgconfig/$(NAME)-shared.pc
	$(FILL) packaging/$(NAME)-config.cmake.in > $(LIB)/cmake/$(NAME)/$(NAME)-config.cmake
	$(FILL) packaging/$(NAME)-config-version.cmake.in > $(LIB)/cmake/$(NAME)/$(NAME)-config-version.cmake
	$(INSTALL) -m 644 LICENSE README.md CHANGELOG.md $(DOC)
	$(INSTALL) -m 644 docs/*.md $(DOC)/docs

uninstall:
	rm -f $(DESTDIR)$(INCLUDEDIR)/$(NAME).h $(DESTDIR)$(INCLUDEDIR)/$(NAME)_ffi.h $(DESTDIR)$(INCLUDEDIR)/$(NAME).hpp
	rm -rf $(DESTDIR)$(INCLUDEDIR)/$(NAME)
	rm -f $(LIB)/lib$(NAME).so $(LIB)/lib$(NAME).so.0 $(LIB)/lib$(NAME).so.$(VERSION) $(LIB)/lib$(NAME).a
	rm -f $(LIB)/pkgconfig/$(NAME).pc $(LIB)/pkgconfig/$(NAME)-shared.pc
	rm -rf $(LIB)/cmake/$(NAME) $(DOC)
