// Package proof breaks the real binary and looks from outside whether anything was lost.
//
// Its tests run the server as a process, on loopback, with receivers that fail in every way, on both
// stores, alone and as one of several nodes; they kill it, stop it, fill its disk, lie to it about
// fsync and take its database away. What must hold is judged by package
// oracle from the journals of producers and receivers, and by the server's own conservation. Every
// fault has a control: the same harness over a server, or a journal, that does lose something, and
// then it must say so.
//
// The tests run in two sizes: the small one always, the other with the build tag full.
package proof
