package egress

func runNetworkNamespaceChild() bool { return false }
