module subject

go 1.20
