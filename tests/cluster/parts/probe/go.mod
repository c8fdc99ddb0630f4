module comanda/tests/cluster/parts/probe

go 1.26.0
