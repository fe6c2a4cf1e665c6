// Models of the iCE40 UltraPlus cells that a Trilight netlist is made of, for Verilator.
//
// They behave bit for bit like the models that Yosys ships (tests/sim/cells/test_cells.py), and are
// written for speed. Where those give X, these give POISON: what reads it must not matter.
// Every input has to be connected: Verilator 5.48 gives a register that drives an input with a
// default value that value too.

`define POISON 16'hbadd

module SB_LUT4 (output O, input I0, I1, I2, I3);
  parameter [15:0] LUT_INIT = 0;
  assign O = LUT_INIT[{I3, I2, I1, I0}];
endmodule

module SB_CARRY (output CO, input I0, I1, CI);
  assign CO = (I0 & I1) | ((I0 | I1) & CI);
endmodule

`define FLIP_FLOP(NAME, PORTS, EVENT, NEXT) \
module NAME (output reg Q, input C, D PORTS); \
  initial Q = 0; \
  always @(EVENT) NEXT \
endmodule

`define FLIP_FLOPS(P, EDGE) \
`FLIP_FLOP(SB_DFF``P,      ,         EDGE C,            Q <= D;) \
`FLIP_FLOP(SB_DFF``P``E,   `AND(E),  EDGE C,            if (E) Q <= D;) \
`FLIP_FLOP(SB_DFF``P``SR,  `AND(R),  EDGE C,            Q <= D & ~R;) \
`FLIP_FLOP(SB_DFF``P``SS,  `AND(S),  EDGE C,            Q <= D | S;) \
`FLIP_FLOP(SB_DFF``P``ESR, `AND2(E, R), EDGE C,            if (E) Q <= D & ~R;) \
`FLIP_FLOP(SB_DFF``P``ESS, `AND2(E, S), EDGE C,            if (E) Q <= D | S;) \
`FLIP_FLOP(SB_DFF``P``R,   `AND(R),  EDGE C or posedge R, if (R) Q <= 0; else Q <= D;) \
`FLIP_FLOP(SB_DFF``P``S,   `AND(S),  EDGE C or posedge S, if (S) Q <= 1; else Q <= D;) \
`FLIP_FLOP(SB_DFF``P``ER,  `AND2(E, R), EDGE C or posedge R, if (R) Q <= 0; else if (E) Q <= D;) \
`FLIP_FLOP(SB_DFF``P``ES,  `AND2(E, S), EDGE C or posedge S, if (S) Q <= 1; else if (E) Q <= D;)

`define AND(A) , A
`define AND2(A, B) , A, B
`FLIP_FLOPS(, posedge)
`FLIP_FLOPS(N, negedge)

// 256 rows of 16 bits. In the narrow modes an address above bit 7 selects among 2, 4 or 8
// neighbouring columns, and the data pins in use are one in each group of columns.
module SB_RAM40_4K (
  output [15:0] RDATA,
  input RCLK, input RCLKE, input RE, input [10:0] RADDR,
  input WCLK, input WCLKE, input WE, input [10:0] WADDR,
  input [15:0] MASK, input [15:0] WDATA
);
  parameter READ_MODE = 0;
  parameter WRITE_MODE = 0;
  parameter [255:0] INIT_0 = 0, INIT_1 = 0, INIT_2 = 0, INIT_3 = 0, INIT_4 = 0, INIT_5 = 0,
    INIT_6 = 0, INIT_7 = 0, INIT_8 = 0, INIT_9 = 0, INIT_A = 0, INIT_B = 0, INIT_C = 0,
    INIT_D = 0, INIT_E = 0, INIT_F = 0;
  localparam [4095:0] INIT = {INIT_F, INIT_E, INIT_D, INIT_C, INIT_B, INIT_A, INIT_9, INIT_8,
    INIT_7, INIT_6, INIT_5, INIT_4, INIT_3, INIT_2, INIT_1, INIT_0};

  reg [15:0] rows [0:255];
  integer row;
  initial for (row = 0; row < 256; row = row + 1) rows[row] = INIT[16 * row +: 16];

  wire [15:0] data, keep;
  generate
    case (WRITE_MODE)
      0: assign data = WDATA, keep = MASK;
      1: assign data = {{2{WDATA[14]}}, {2{WDATA[12]}}, {2{WDATA[10]}}, {2{WDATA[8]}},
                        {2{WDATA[6]}}, {2{WDATA[4]}}, {2{WDATA[2]}}, {2{WDATA[0]}}},
                keep = ~{8{2'b01 << WADDR[8]}};
      2: assign data = {{4{WDATA[13]}}, {4{WDATA[9]}}, {4{WDATA[5]}}, {4{WDATA[1]}}},
                keep = ~{4{4'b0001 << WADDR[9:8]}};
      3: assign data = {{8{WDATA[11]}}, {8{WDATA[3]}}},
                keep = ~{2{8'b00000001 << WADDR[10:8]}};
    endcase
  endgenerate
  always @(posedge WCLK)
    if (WE & WCLKE) rows[WADDR[7:0]] <= (rows[WADDR[7:0]] & keep) | (data & ~keep);

  reg [15:0] word;
  generate
    case (READ_MODE)
      0: begin
        always @(posedge RCLK) if (RE & RCLKE) word <= rows[RADDR[7:0]];
        assign RDATA = word;
      end
      1: begin
        always @(posedge RCLK) if (RE & RCLKE) word <= rows[RADDR[7:0]] >> RADDR[8];
        assign RDATA = word & 16'h5555;
      end
      2: begin
        always @(posedge RCLK) if (RE & RCLKE) word <= rows[RADDR[7:0]] >> RADDR[9:8];
        assign RDATA = {word[14:0], 1'b0} & 16'h2222;
      end
      3: begin
        always @(posedge RCLK) if (RE & RCLKE) word <= rows[RADDR[7:0]] >> RADDR[10:8];
        assign RDATA = {word[12:0], 3'b000} & 16'h0808;
      end
    endcase
  endgenerate
endmodule

module SB_SPRAM256KA (
  input [13:0] ADDRESS, input [15:0] DATAIN, input [3:0] MASKWREN,
  input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
  output reg [15:0] DATAOUT
);
  reg [15:0] rows [0:16383];
`ifndef YOSYS  // which would make a cell of each row
  integer row;
  initial for (row = 0; row < 16384; row = row + 1) rows[row] = `POISON;
  always @(negedge POWEROFF) for (row = 0; row < 16384; row = row + 1) rows[row] = `POISON;
`endif

  wire [15:0] change = {{4{MASKWREN[3]}}, {4{MASKWREN[2]}}, {4{MASKWREN[1]}}, {4{MASKWREN[0]}}};
  wire off = SLEEP | ~POWEROFF;
  always @(posedge CLOCK or posedge off)
    if (off) DATAOUT <= 0;
    else if (STANDBY) DATAOUT <= `POISON;
    else if (CHIPSELECT) DATAOUT <= WREN ? `POISON : rows[ADDRESS];
  always @(posedge CLOCK)
    if (CHIPSELECT & WREN & ~STANDBY & ~off)
      rows[ADDRESS] <= (rows[ADDRESS] & ~change) | (DATAIN & change);
endmodule

// Two 16-bit halves, each an adder behind a choice of operands, around four 8x8 multipliers that
// also make one 16x16. The registers' names are those of Lattice's figure.
module SB_MAC16 (
  input CLK, input CE,
  input [15:0] A, B, C, D,
  input AHOLD, BHOLD, CHOLD, DHOLD,
  input IRSTTOP, IRSTBOT, ORSTTOP, ORSTBOT, OLOADTOP, OLOADBOT,
  input ADDSUBTOP, ADDSUBBOT, OHOLDTOP, OHOLDBOT,
  input CI, ACCUMCI, SIGNEXTIN,
  output [31:0] O, output CO, ACCUMCO, SIGNEXTOUT
);
  parameter [0:0] NEG_TRIGGER = 0, A_REG = 0, B_REG = 0, C_REG = 0, D_REG = 0,
    TOP_8x8_MULT_REG = 0, BOT_8x8_MULT_REG = 0,
    PIPELINE_16x16_MULT_REG1 = 0, PIPELINE_16x16_MULT_REG2 = 0,
    TOPADDSUB_UPPERINPUT = 0, BOTADDSUB_UPPERINPUT = 0, MODE_8x8 = 0, A_SIGNED = 0, B_SIGNED = 0;
  parameter [1:0] TOPOUTPUT_SELECT = 0, TOPADDSUB_LOWERINPUT = 0, TOPADDSUB_CARRYSELECT = 0,
    BOTOUTPUT_SELECT = 0, BOTADDSUB_LOWERINPUT = 0, BOTADDSUB_CARRYSELECT = 0;

  wire clock = CLK ^ NEG_TRIGGER;

  reg [15:0] a_q, b_q, c_q, d_q, f_q, j_q, k_q, g_q, top_q, bottom_q;
  reg [31:0] h_q;
  wire [15:0] a = A_REG ? a_q : A;
  wire [15:0] b = B_REG ? b_q : B;
  wire [15:0] c = C_REG ? c_q : C;
  wire [15:0] d = D_REG ? d_q : D;

  wire [15:0] a_high = {{8{A_SIGNED & a[15]}}, a[15:8]};
  wire [15:0] b_high = {{8{B_SIGNED & b[15]}}, b[15:8]};
  wire [15:0] a_low = {{8{A_SIGNED & MODE_8x8 & a[7]}}, a[7:0]};
  wire [15:0] b_low = {{8{B_SIGNED & MODE_8x8 & b[7]}}, b[7:0]};
  wire [15:0] f_d = a_high * b_high;
  wire [15:0] j_d = {8'h00, a[7:0]} * b_high;
  wire [15:0] k_d = a_high * {8'h00, b[7:0]};
  wire [15:0] g_d = a_low * b_low;
  wire [15:0] f = TOP_8x8_MULT_REG ? f_q : f_d;
  wire [15:0] j = PIPELINE_16x16_MULT_REG1 ? j_q : j_d;
  wire [15:0] k = PIPELINE_16x16_MULT_REG1 ? k_q : k_d;
  wire [15:0] g = BOT_8x8_MULT_REG ? g_q : g_d;
  wire [31:0] h_d = {f, g} + {{8{A_SIGNED & k[15]}}, k, 8'h00} + {{8{B_SIGNED & j[15]}}, j, 8'h00};
  wire [31:0] h = PIPELINE_16x16_MULT_REG2 ? h_q : h_d;

  wire [15:0] bottom_lower, bottom_upper, bottom_sum, bottom_d, top_lower, top_upper, top_sum, top_d;
  wire bottom_carry_in, bottom_carry, top_carry_in;
  assign bottom_upper = BOTADDSUB_UPPERINPUT ? d : bottom_q;
  assign top_upper = TOPADDSUB_UPPERINPUT ? c : top_q;
  generate
    case (BOTADDSUB_LOWERINPUT)
      0: assign bottom_lower = b;
      1: assign bottom_lower = g;
      2: assign bottom_lower = h[15:0];
      3: assign bottom_lower = {16{SIGNEXTIN}};
    endcase
    case (TOPADDSUB_LOWERINPUT)
      0: assign top_lower = a;
      1: assign top_lower = f;
      2: assign top_lower = h[31:16];
      3: assign top_lower = {16{bottom_lower[15]}};
    endcase
    case (BOTADDSUB_CARRYSELECT)
      0: assign bottom_carry_in = 1'b0;
      1: assign bottom_carry_in = 1'b1;
      2: assign bottom_carry_in = ACCUMCI;
      3: assign bottom_carry_in = CI;
    endcase
    case (TOPADDSUB_CARRYSELECT)
      0: assign top_carry_in = 1'b0;
      1: assign top_carry_in = 1'b1;
      2: assign top_carry_in = bottom_carry;
      3: assign top_carry_in = bottom_carry ^ ADDSUBBOT;
    endcase
    case (TOPOUTPUT_SELECT)
      0: assign O[31:16] = top_d;
      1: assign O[31:16] = top_q;
      2: assign O[31:16] = f;
      3: assign O[31:16] = h[31:16];
    endcase
    case (BOTOUTPUT_SELECT)
      0: assign O[15:0] = bottom_d;
      1: assign O[15:0] = bottom_q;
      2: assign O[15:0] = g;
      3: assign O[15:0] = h[15:0];
    endcase
  endgenerate
  assign {bottom_carry, bottom_sum} =
    bottom_lower + (bottom_upper ^ {16{ADDSUBBOT}}) + {15'b0, bottom_carry_in};
  assign {ACCUMCO, top_sum} = top_lower + (top_upper ^ {16{ADDSUBTOP}}) + {15'b0, top_carry_in};
  assign bottom_d = OLOADBOT ? d : bottom_sum ^ {16{ADDSUBBOT}};
  assign top_d = OLOADTOP ? c : top_sum ^ {16{ADDSUBTOP}};
  assign CO = ACCUMCO ^ ADDSUBTOP;
  assign SIGNEXTOUT = top_lower[15];

  always @(posedge clock or posedge IRSTTOP)
    if (IRSTTOP) begin
      a_q <= 0; c_q <= 0; f_q <= 0; j_q <= 0;
    end else if (CE) begin
      if (~AHOLD) a_q <= A;
      if (~CHOLD) c_q <= C;
      f_q <= f_d;
      if (~MODE_8x8) j_q <= j_d;
    end
  always @(posedge clock or posedge IRSTBOT)
    if (IRSTBOT) begin
      b_q <= 0; d_q <= 0; g_q <= 0; k_q <= 0; h_q <= 0;
    end else if (CE) begin
      if (~BHOLD) b_q <= B;
      if (~DHOLD) d_q <= D;
      g_q <= g_d;
      if (~MODE_8x8) k_q <= k_d;
      if (~MODE_8x8) h_q <= h_d;
    end
  always @(posedge clock or posedge ORSTTOP)
    if (ORSTTOP) top_q <= 0;
    else if (CE & ~OHOLDTOP) top_q <= top_d;
  always @(posedge clock or posedge ORSTBOT)
    if (ORSTBOT) bottom_q <= 0;
    else if (CE & ~OHOLDBOT) bottom_q <= bottom_d;
endmodule

module SB_GB (input USER_SIGNAL_TO_GLOBAL_BUFFER, output GLOBAL_BUFFER_OUTPUT);
  assign GLOBAL_BUFFER_OUTPUT = USER_SIGNAL_TO_GLOBAL_BUFFER;
endmodule

// Plain and registered pins; neither latches nor double data rate.
module SB_IO (
  inout PACKAGE_PIN,
  input LATCH_INPUT_VALUE, input CLOCK_ENABLE, input INPUT_CLK,
  input OUTPUT_CLK, input OUTPUT_ENABLE, input D_OUT_0, D_OUT_1,
  output D_IN_0, D_IN_1
);
  parameter [5:0] PIN_TYPE = 6'b000000;
  parameter [0:0] PULLUP = 0, NEG_TRIGGER = 0;
  parameter IO_STANDARD = "SB_LVCMOS";

  generate
    if (PIN_TYPE[1] | (PIN_TYPE[5:4] != 0 & PIN_TYPE[3:2] == 0))
      $error("SB_IO: no model of PIN_TYPE %b", PIN_TYPE);
  endgenerate

  reg in_q, out_q, enable_q;
  always @(posedge (INPUT_CLK ^ NEG_TRIGGER)) if (CLOCK_ENABLE) in_q <= PACKAGE_PIN;
  always @(posedge (OUTPUT_CLK ^ NEG_TRIGGER))
    if (CLOCK_ENABLE) begin
      out_q <= D_OUT_0;
      enable_q <= OUTPUT_ENABLE;
    end

  wire out = PIN_TYPE[3:2] == 2'b10 ? D_OUT_0 : out_q ^ PIN_TYPE[3];
  assign D_IN_0 = PIN_TYPE[0] ? PACKAGE_PIN : in_q;
  assign D_IN_1 = 1'b0;
  generate
    case (PIN_TYPE[5:4])
      1: assign PACKAGE_PIN = out;
      2: assign PACKAGE_PIN = OUTPUT_ENABLE ? out : 1'bz;
      3: assign PACKAGE_PIN = enable_q ? out : 1'bz;
      default: ;
    endcase
  endgenerate
endmodule

module SB_GB_IO (
  inout PACKAGE_PIN, output GLOBAL_BUFFER_OUTPUT,
  input LATCH_INPUT_VALUE, input CLOCK_ENABLE, input INPUT_CLK,
  input OUTPUT_CLK, input OUTPUT_ENABLE, input D_OUT_0, D_OUT_1,
  output D_IN_0, D_IN_1
);
  parameter [5:0] PIN_TYPE = 6'b000000;
  parameter [0:0] PULLUP = 0, NEG_TRIGGER = 0;
  parameter IO_STANDARD = "SB_LVCMOS";

  SB_IO #(.PIN_TYPE(PIN_TYPE), .PULLUP(PULLUP), .NEG_TRIGGER(NEG_TRIGGER)) pin (
    .PACKAGE_PIN, .LATCH_INPUT_VALUE, .CLOCK_ENABLE, .INPUT_CLK, .OUTPUT_CLK, .OUTPUT_ENABLE,
    .D_OUT_0, .D_OUT_1, .D_IN_0, .D_IN_1);
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
endmodule

// The simulated pin clock is the PLL's output: a simulated cycle is a cycle of the chip.
module SB_PLL40_PAD (
  input PACKAGEPIN, output PLLOUTCORE, PLLOUTGLOBAL,
  input EXTFEEDBACK, input [7:0] DYNAMICDELAY, output LOCK,
  input BYPASS, RESETB, LATCHINPUTVALUE, output SDO,
  input SDI, SCLK
);
  parameter FEEDBACK_PATH = "SIMPLE";
  parameter PLLOUT_SELECT = "GENCLK";
  parameter DIVR = 4'b0000, DIVF = 7'b0000000, DIVQ = 3'b000, FILTER_RANGE = 3'b000;

  assign PLLOUTCORE = PACKAGEPIN;
  assign PLLOUTGLOBAL = PACKAGEPIN;
  assign LOCK = RESETB;
  assign SDO = 1'b0;
endmodule

// The same with a latch: while LATCHINPUTVALUE is high the outputs stand still and the PLL rests,
// and then it takes LOCK_CYCLES until it is locked again.
module SB_PLL40_2F_PAD (
  input PACKAGEPIN, output PLLOUTCOREA, PLLOUTCOREB, PLLOUTGLOBALA, PLLOUTGLOBALB,
  input EXTFEEDBACK, input [7:0] DYNAMICDELAY, output LOCK,
  input BYPASS, RESETB, LATCHINPUTVALUE, output SDO,
  input SDI, SCLK
);
  parameter FEEDBACK_PATH = "SIMPLE";
  parameter PLLOUT_SELECT_PORTA = "GENCLK", PLLOUT_SELECT_PORTB = "GENCLK";
  parameter ENABLE_ICEGATE_PORTA = 1'b0, ENABLE_ICEGATE_PORTB = 1'b0;
  parameter DIVR = 4'b0000, DIVF = 7'b0000000, DIVQ = 3'b000, FILTER_RANGE = 3'b000;
  localparam LOCK_CYCLES = 2400;  // 50 us at 48 MHz

  wire resting = LATCHINPUTVALUE & ENABLE_ICEGATE_PORTA & ENABLE_ICEGATE_PORTB;
  reg [11:0] unlocked = LOCK_CYCLES;
  always @(posedge PACKAGEPIN)
    if (resting) unlocked <= LOCK_CYCLES;
    else if (unlocked != 0) unlocked <= unlocked - 1;
  assign PLLOUTCOREA = PACKAGEPIN & ~(LATCHINPUTVALUE & ENABLE_ICEGATE_PORTA);
  assign PLLOUTCOREB = PACKAGEPIN & ~(LATCHINPUTVALUE & ENABLE_ICEGATE_PORTB);
  assign PLLOUTGLOBALA = PLLOUTCOREA;
  assign PLLOUTGLOBALB = PLLOUTCOREB;
  assign LOCK = RESETB & unlocked == 0;
  assign SDO = 1'b0;
endmodule

// The simulated clock is the oscillator's output, whatever its divider; `bench` is what
// `trilight.sim.native.compile` wraps a design in.
module SB_HFOSC (input CLKHFPU, CLKHFEN, output CLKHF);
  parameter CLKHF_DIV = "0b00";

  assign CLKHF = bench.clock & CLKHFPU & CLKHFEN;
endmodule
