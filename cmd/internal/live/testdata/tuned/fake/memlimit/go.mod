module github.com/KimMachineGun/automemlimit
go 1.24
