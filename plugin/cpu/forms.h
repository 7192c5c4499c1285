/*
 * In which form a network whose convolutions are oneDNN's, in bfloat16, hands images on from
 * layer to layer: channels last where all who read them can take that, so that nothing has to
 * bring them into another form and back.
 */
#ifndef KD_FORMS_H
#define KD_FORMS_H

#include "cpu/convolution_code.h"

#include "darknet.h"

/* A layer that convolution.h computes */
int is_convolution(layer l);

/* A [shortcut] of two equal shapes */
int is_sum(layer l);

/*
 * forms[net->n], of each layer's output: FORM_LAST of a convolution, or of what passes on such
 * (a sum, last.h), if none but these and [avgpool] read it; FORM_NARROW, with `narrow`, of a
 * convolution that only convolutions read; else FORM_PLAIN.
 */
void find_forms(const network *net, int narrow, image_form *forms);

#endif
