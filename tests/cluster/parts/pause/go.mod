module comanda/tests/cluster/parts/pause

go 1.26.0
