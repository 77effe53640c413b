// A program with one probe at two places, as <sys/sdt.h> writes them. Prints how many attachments there are.
#include <stdio.h>
#include <stdlib.h>

#define PROBE(arguments, ...)                                                                  \
	__asm__ volatile("990: nop\n"                                                          \
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n"                         \
			 ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n"                         \
			 "991: .asciz \"stapsdt\"\n992: .balign 4\n"                           \
			 "993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte shop_semaphore\n"    \
			 ".asciz \"shop\"\n.asciz \"sale\"\n.asciz \"" arguments "\"\n"        \
			 "994: .balign 4\n.popsection\n"                                       \
			 ".ifndef _.stapsdt.base\n"                                            \
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
			 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"                      \
			 "_.stapsdt.base: .space 1\n.popsection\n.endif\n" ::__VA_ARGS__)

unsigned short shop_semaphore __attribute__((section(".probes")));

int main(int argc, char **argv)
{
	long price = argc > 1 ? atol(argv[1]) : 100;
	int amount = argc > 2 ? atoi(argv[2]) : 5;

	PROBE("-8@%0 -4@%1", "r"(price), "r"(amount));
	PROBE("-8@%0 -4@%1", "r"(price), "i"(3));
	printf("%d\n", shop_semaphore);
	return 0;
}
