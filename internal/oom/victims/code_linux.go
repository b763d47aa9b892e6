package victims

import (
	"slices"

	"github.com/cilium/ebpf/asm"
)

// Where a program goes on: to its end, and to the end of a note.
const (
	leaveLabel = "leave"
	closeLabel = "close"
)

// leave ends a program.
func leave() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 0).WithSymbol(leaveLabel), asm.Return()}
}

// join makes one of pieces of a program.
func join(pieces ...asm.Instructions) asm.Instructions { return slices.Concat(pieces...) }

// lookUp puts the place of a map's only value into a register.
func lookUp(to asm.Register, name string) asm.Instructions {
	return join(asm.Instructions{asm.Mov.Imm(asm.R1, 0)}, lookUpAt(to, name))
}

// lookUpAt puts the place of the value with the key in R1 into a register.
func lookUpAt(to asm.Register, name string) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, stackWord, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, 0).WithReference(name),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackWord),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, leaveLabel), // no such key: the verifier wants it asked
		asm.Mov.Reg(to, asm.R0),
	}
}

// read reads size bytes of the kernel's memory, and zeros where it cannot be read; R0 is then not 0.
func read(to asm.Register, toOffset, size int32, from asm.Register, fromOffset int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, to),
		asm.Add.Imm(asm.R1, toOffset),
		asm.Mov.Imm(asm.R2, size),
		asm.Mov.Reg(asm.R3, from),
		asm.Add.Imm(asm.R3, fromOffset),
		asm.FnProbeReadKernel.Call(),
	}
}

// follow replaces a pointer by the one at an offset from it, once for each offset.
func follow(pointer asm.Register, offsets ...int32) asm.Instructions {
	var code asm.Instructions
	for _, o := range offsets {
		code = join(code,
			read(asm.RFP, stackWord, wordSize, pointer, o),
			asm.Instructions{asm.LoadMem(pointer, asm.RFP, stackWord, asm.DWord)})
	}
	return code
}
