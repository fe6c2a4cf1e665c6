// Models of the Gowin cells that a design has before synthesis: pins and the PLL. The cells that
// synthesis maps to have none here, so only the RTL of a Gowin board is simulated.

module IBUF (input I, output O);
  assign O = I;
endmodule

module TBUF (input I, OEN, output O);
  assign O = I;
endmodule

// The simulated pin clock is the PLL's output: a simulated cycle is a cycle of the chip.
module rPLL (
  input CLKIN, CLKFB, RESET, RESET_P,
  input [5:0] FBDSEL, IDSEL, ODSEL,
  input [3:0] PSDA, DUTYDA, FDLY,
  output CLKOUT, CLKOUTP, CLKOUTD, CLKOUTD3, LOCK
);
  parameter FCLKIN = "27", IDIV_SEL = 0, FBDIV_SEL = 0, ODIV_SEL = 8;

  assign CLKOUT = CLKIN;
  assign LOCK = ~RESET;
endmodule
