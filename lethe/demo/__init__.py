"""The demo: one person is forgotten, from import to certificate, with everything measured."""
